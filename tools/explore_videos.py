"""``nextvid explore-videos`` from a checkout: nextvid_mm/cli/explore_videos.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nextvid_mm.cli import main

if __name__ == '__main__':
    main('explore_videos')
