"""See the method work: generated videos, four-stage pretraining, probes and pictures."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nextvid_mm.cli.flags import add_shared
from nextvid_mm.run_folder import own_folder

GOES_ON = 'The same command goes on where it was'
EPILOG = """\
What happens, with progress throughout:
  1. data      a few thousand short H.264 clips are generated once, into data/demo
  2. pretrain  tools/train.py configs/nextvid/vit-tiny_demo.py, all four stages; a picture of
               generated frames every 100 steps
  3. probe     attentive probes with identical settings on the pretrained encoder, on the same
               network untrained, and on a single frame of each clip: how something moves, in
               videos, and what is to be seen, in stills
  4. pictures  original, masked and generated frames

A run that was interrupted continues where it stopped; one that is complete is probed again.

examples:
  ./demo.sh                                   # everything, set-up included
  python tools/demo.py --seeds 0 1 2          # three pretrainings
  # learn longer; a folder of its own, because the run in the default one is complete
  python tools/demo.py --work-dir work_dirs/longer --cfg-options train_cfg.stages.2.steps=800
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add_shared(parser, '--seeds', default=[0])
    add_shared(parser, '--work-dir', '(default: work_dirs/demo)', type=Path)
    add_shared(
        parser, '--cfg-options', '(of configs/nextvid/vit-tiny_demo.py)', action='store', default=[]
    )


def run(args: argparse.Namespace) -> None:
    """Run everything, in the checkout's folder or, of an installed wheel, in the current one."""
    from nextvid_mm.config_files import home_folder
    from nextvid_mm.demo.run import run_demo

    home = home_folder()
    work_dir = (args.work_dir or home / 'work_dirs' / 'demo').resolve()
    os.chdir(home)  # the configs find data/ there
    with own_folder(work_dir):
        run_demo(work_dir, args.seeds, args.cfg_options)
