"""Labelled videos of worlds that this project did not draw; each needs a simulator of its own."""
