"""Write a report about a run: one HTML file that opens anywhere, without a network."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.engine.cli import errors_in_one_line
from nextvid_mm.report import write_report

EPILOG = """\
examples:
  python tools/report.py work_dirs/demo                          # what the demo ends with
  python tools/report.py work_dirs/vit-tiny_demo --probe-config configs/probe/demo.py
  python tools/report.py work_dirs/vit-l_4stage                  # curves and settings only

With a probe config, its labelled videos serve for the map of features, the attention of a probe
and the comparison of generated frames with copying the last one. The demo leaves its own in its
work directory, where it is found.
"""


def main() -> None:
    """Parse the flags and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work_dir', type=Path, help='of a training run, or of the demo')
    parser.add_argument('--output', type=Path, help='the file (default: WORK_DIR/report.html)')
    parser.add_argument('--probe-config', help='probe config with labelled videos')
    args = parser.parse_args()
    with errors_in_one_line('report'):
        probe = Config.fromfile(args.probe_config) if args.probe_config else None
        print(write_report(args.work_dir, args.output, probe))


if __name__ == '__main__':
    main()
