"""Reading an encoder or a generator from a file."""
