"""Print the training schedule a config resolves to, without training."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmengine.config import Config, DictAction
from rich.console import Console

import nextvid_mm  # noqa: F401  (makes the components known)
from nextvid_mm.plan.stage_report import render, stage_rows, stage_table_of

EPILOG = """\
examples:
  python tools/print_stages.py configs/nextvid/vit-g_4stage.py --world-size 96
  python tools/print_stages.py CONFIG --cfg-options train_cfg.stages.0.steps=1000

"per process" is clips per forward pass x accumulated passes; the batch is global and does not
depend on the number of processes. Tokens are those of the unmasked clips. Rates are those of the
first and last step of a stage and linear in between; "flow" is the decoder.
"""


def main() -> None:
    """Parse the command line and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help='config with train_cfg.stages')
    parser.add_argument(
        '--world-size', type=int, default=1, help='number of processes (default: %(default)s)'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='as in train.py'
    )
    args = parser.parse_args()
    try:
        cfg = Config.fromfile(args.config)
        cfg.merge_from_dict(args.cfg_options or {})
        table = stage_table_of(cfg, args.config)
        rows = stage_rows(table, args.world_size, cfg.model.get('backbone'))
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'print_stages: error: {error}')
    title = f'{args.config}, {args.world_size} process(es)'
    # Wide enough for every column also where the output is not a terminal.
    Console(width=max(Console().width, 150)).print(render(rows, title))


if __name__ == '__main__':
    main()
