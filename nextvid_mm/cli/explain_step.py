"""Explain one training step of a config on a page, from a real batch."""

from __future__ import annotations

import argparse
from pathlib import Path

from nextvid_mm.cli.flags import add_shared, device_of

EPILOG = """\
examples:
  python tools/explain_step.py configs/nextvid/vit-tiny_demo.py
  python tools/explain_step.py configs/nextvid/vit-tiny_demo.py --step 1400 \\
      --checkpoint work_dirs/vit-tiny_demo/iter_1500.pth --out step.html

The page shows clips, masks of each strategy, tokens of each network, what reads what (measured by
gradients), targets before and after normalisation, noise and velocity, the loss of each tubelet and
the gradient norm of each network. It is one HTML file that opens anywhere. Weights are new unless a
checkpoint is given, and none moves.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('config', help='training config of a NextVid')
    add('--step', type=int, default=0, help='step whose clips are taken (default: %(default)s)')
    add('--clips', type=int, default=2, help='clips of its batch (default: %(default)s)')
    add('--checkpoint', help='weights of the whole model, as tools/train.py writes them')
    add_shared(parser, '--out', '(default: work_dirs/CONFIG_NAME/step.html)', type=Path)
    add_shared(parser, '--device')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Write the page."""
    from nextvid_mm.config_files import checked_config

    cfg = checked_config(args.config, args.cfg_options)

    from nextvid_mm.report.step import look_at_step
    from nextvid_mm.report.step_page import write_step_page

    look = look_at_step(cfg, args.step, args.clips, args.checkpoint, device_of(args))
    name = Path(args.config).stem
    print(write_step_page(look, args.out or Path('work_dirs', name, 'step.html'), name))
