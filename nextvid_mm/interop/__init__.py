"""Checkpoint converters in and out."""
