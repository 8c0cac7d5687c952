"""Targets computed once for many runs: their cache and their statistics."""
