"""The embedded demo: generated videos, the whole method on them, ablations at its scale."""
