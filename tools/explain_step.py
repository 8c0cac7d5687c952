"""Explain one training step of a config on a page, from a real batch."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.engine.cli import checked_config, errors_in_one_line

EPILOG = """\
examples:
  python tools/explain_step.py configs/nextvid/vit-tiny_demo.py
  python tools/explain_step.py configs/nextvid/vit-tiny_demo.py --step 1400 \\
      --checkpoint work_dirs/vit-tiny_demo/iter_1400.pth --output step_1400.html

The page shows clips, masks of each strategy, tokens of each network, what reads what (measured by
gradients), targets before and after normalisation, noise and velocity, the loss of each tubelet and
the gradient norm of each network. It is one HTML file that opens anywhere. Weights are new unless a
checkpoint is given, and none moves.
"""


def main() -> None:
    """Parse the flags and write the page."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('config', help='training config of a NextVid')
    add('--step', type=int, default=0, help='step whose clips are taken (default: %(default)s)')
    add('--clips', type=int, default=2, help='clips of its batch (default: %(default)s)')
    add('--checkpoint', help='weights of the whole model, as tools/train.py writes them')
    add('--output', help='the file (default: work_dirs/CONFIG_NAME/step.html)')
    add('--device', default='cpu', help='where the model runs (default: %(default)s)')
    add('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='as in train.py')
    args = parser.parse_args()
    with errors_in_one_line('explain_step'):
        from nextvid_mm.report.step import look_at_step
        from nextvid_mm.report.step_page import write_step_page

        cfg = checked_config(args.config, args.cfg_options)
        look = look_at_step(cfg, args.step, args.clips, args.checkpoint, args.device)
        name = Path(args.config).stem
        print(write_step_page(look, args.output or f'work_dirs/{name}/step.html', name))


if __name__ == '__main__':
    main()
