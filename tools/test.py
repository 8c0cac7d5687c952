"""Evaluate a trained probe, or train one on an encoder and evaluate it."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.engine.cli import errors_in_one_line
from nextvid_mm.engine.probe.evaluate import add_test_flags, run_test

EPILOG = """\
examples:
  python tools/test.py configs/probe/ssv2.py PRETRAINED.pth                     # whole protocol
  python tools/test.py configs/probe/ssv2.py work_dirs/ssv2/probe.pth           # a trained probe
  python tools/test.py CONFIG OTHER.pth --work-dir work_dirs/other/ssv2
  python tools/test.py CONFIG PRETRAINED.pth --cache-features                   # encode once
  python tools/test.py --from-json work_dirs/ssv2/probe_results.json            # repeat exactly
  bash tools/dist_test.sh CONFIG CHECKPOINT 8                                   # eight processes

The work directory then holds probe_results.json (all numbers, and what is needed to repeat them)
and confusion.png; docs/evaluate.md explains both. Other MMEngine configs are tested as MMAction2's
tool does.
"""


def main() -> None:
    """Parse the flags and evaluate; report a mistake in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_test_flags(parser)
    with errors_in_one_line('test'):
        run_test(parser.parse_args())


if __name__ == '__main__':
    main()
