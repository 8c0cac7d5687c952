"""Print the training schedule a config resolves to, without training."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared

EPILOG = """\
examples:
  python tools/print_stages.py configs/nextvid/vit-g_4stage.py --world-size 96
  python tools/print_stages.py CONFIG --cfg-options train_cfg.stages.0.steps=1000

"per process" is clips per forward pass x accumulated passes; the batch is global and does not
depend on the number of processes. Tokens are those of the unmasked clips. Rates are those of the
first and last step of a stage and linear in between; "flow" is the decoder.
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('config', help='config with train_cfg.stages')
    parser.add_argument(
        '--world-size', type=int, default=1, help='number of processes (default: %(default)s)'
    )
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from nextvid_mm.config_files import checked_config

    cfg = checked_config(args.config, args.cfg_options)

    from rich.console import Console

    from nextvid_mm.plan.stage_report import render, stage_rows, stage_table_of

    table = stage_table_of(cfg, args.config)
    rows = stage_rows(table, args.world_size, cfg.model.get('backbone'))
    title = f'{args.config}, {args.world_size} process(es)'
    # Wide enough for every column also where the output is not a terminal.
    Console(width=max(Console().width, 150)).print(render(rows, title))
