"""``python -m nextvid_mm`` is ``nextvid``."""

from nextvid_mm.cli import main

main()
