"""Videos and pictures from files: one way to open, find and list them."""
