"""Print the training schedule a config resolves to, without training."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared

EPILOG = """\
examples:
  python tools/print_stages.py configs/nextvid/vit-g_4stage.py --world-size 96
  python tools/print_stages.py CONFIG --cfg-options train_cfg.stages.0.steps=1000

"per process" is clips per forward pass x accumulated passes; the batch is global and does not
depend on the number of processes. Tokens are tubelets x patches of the unmasked clips. Rates are
those of the first and last step of a stage and linear in between; "flow" is the decoder. Below:
what each source of the mixture gives, and totals.
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

    from nextvid_mm.plan.run_sums import describe, run_sums
    from nextvid_mm.plan.stage_report import render, stage_rows, stage_table_of

    table = stage_table_of(cfg, args.config)
    rows = stage_rows(table, args.world_size, cfg.model.get('backbone'))
    sums = describe(run_sums(cfg, table))
    title = f'{args.config}, {args.world_size} process(es)'
    # Wide enough for every column also where the output is not a terminal.
    console = Console(width=max(Console().width, 150), highlight=False)
    for part in (render(rows, title), *sums):
        console.print(part)
