"""See the method work: generated videos, four-stage pretraining, probes and pictures."""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from nextvid_mm.demo.run import PretrainingError, run_demo

EPILOG = """\
What happens, with progress throughout:
  1. data      a few thousand short H.264 clips are generated once, into data/demo
  2. pretrain  tools/train.py configs/nextvid/vit-tiny_demo.py, all four stages
  3. probe     attentive probes with identical settings on the pretrained encoder, on the same
               network untrained, and on a single frame of each clip
  4. pictures  original, masked and generated frames

A run that was interrupted continues where it stopped; one that is complete is probed again.

examples:
  ./demo.sh                                   # everything, set-up included
  python tools/demo.py --seeds 0 1 2          # three pretrainings
  # learn longer; a folder of its own, because the run in the default one is complete
  python tools/demo.py --work-dir work_dirs/longer --cfg-options train_cfg.stages.2.steps=800
"""


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--seeds', type=int, nargs='+', default=[0], help='one run for each (default: 0)')
    add('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo', help='logs and results')
    add(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override values of configs/nextvid/vit-tiny_demo.py',
    )
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)  # the configs find data/ there
    try:
        run_demo(ROOT, args.work_dir.resolve(), args.seeds, args.cfg_options)
    except PretrainingError as error:
        sys.exit(f'demo: error: {error}')


if __name__ == '__main__':
    main()
