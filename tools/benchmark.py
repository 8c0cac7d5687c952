"""Measure what pretraining costs, as ratios side by side in one run."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.cli import COMMANDS, add_flags, run

EPILOG = """\
examples:
  python tools/benchmark.py step --size tiny                       # against a plain baseline
  python tools/benchmark.py step --size base --pixels 256 --components
  python tools/benchmark.py step --size base --pixels 256 --memory --recompute light
  python tools/benchmark.py step --size base --pixels 256 --frames 64 --batch 1
  python tools/benchmark.py step --size tiny --target vae --images 1 --batch 4 --pixels 256
  python tools/benchmark.py attention --size base --pixels 256 --groups 1 2 4
  python tools/benchmark.py scale --size tiny --pixels 256 --axis encoder
  python tools/benchmark.py loader --config configs/nextvid/vit-l_4stage.py --videos FOLDER
  python tools/benchmark.py stream --size tiny
  python tools/benchmark.py rollout --size large --pixels 128 --batch 1 --steps 10
  python tools/benchmark.py probe --size tiny
  python tools/benchmark.py protocol --encoder CHECKPOINT            # the whole probe protocol
  python tools/benchmark.py compile --size tiny --backend aot_eager
  python tools/benchmark.py flops                                  # counted, nothing is run

Times are medians with half the distance between quartiles. On a machine that others use, compare
processor time of one thread: --clock cpu --threads 1 --repeats 5. --json FILE keeps every single
measurement.
"""


def main() -> None:
    """Parse the flags and measure; report a wrong flag in one line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True, metavar='COMMAND')
    for name, command in COMMANDS.items():
        text = (command.__doc__ or '').partition('\n')[0]
        add_flags(name, commands.add_parser(name, help=text, description=text))
    try:
        run(parser.parse_args())
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'benchmark: error: {error}')


if __name__ == '__main__':
    main()
