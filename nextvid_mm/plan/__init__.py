"""What a config will do and need, without running it: its schedule and its memory."""
