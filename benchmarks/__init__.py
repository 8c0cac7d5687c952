"""What a step costs: measured against a plain baseline, and counted."""
