"""Run a table of ablations or baselines at the demo's scale and print it beside the paper's."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nextvid_mm.cli.flags import CfgOptions, add_shared
from nextvid_mm.run_folder import own_folder

if TYPE_CHECKING:
    from rich.console import Console

GOES_ON = 'The same command goes on with what is missing'
EPILOG = """\
Every row has the same clips in the same order, the same number of optimiser steps and the same
probe, which stands on the trained encoder ('encoder', not its EMA) for all rows. Seconds are
reported, not equalised. A run that is done is not repeated; an interrupted one goes on.

examples:
  python tools/run_ablations.py --list
  python tools/run_ablations.py --table compare --seeds 0 1 2 --jobs 2
  python tools/run_ablations.py --table table4 --seeds 0 --steps-scale 0.25
  python tools/run_ablations.py --table compare --rows table2_full untrained

A row at the paper's scale is a config like any other:
  python tools/train.py configs/ablations/table4_masking-none.py
"""


TABLES = ('compare', 'table2', 'table3', 'table4', 'table5', 'table11', 'table12', 'extra')


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('--list', action='store_true', help='show the rows of every table and stop')
    add('--table', default='compare', choices=TABLES, help='default: compare')
    add('--rows', nargs='+', default=[], help='some rows of the table (default: all)')
    add_shared(parser, '--seeds', default=[0, 1, 2])
    add('--steps-scale', type=float, default=1.0, help="factor on the demo's steps, default 1")
    add('--jobs', type=int, default=1, help='pretrainings at a time (default: 1)')
    add_shared(parser, '--work-dir', '(default: work_dirs/ablations)', type=Path)
    add_shared(parser, '--cfg-options', '(of all pretraining configs)', default={})
    add(
        '--probe-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='the same for configs/probe/demo.py',
    )


def run(args: argparse.Namespace) -> None:
    """List, or run the rows and write table, JSON and plot."""
    from rich.console import Console

    from nextvid_mm.demo.ablations import tables

    console = Console(highlight=False)
    if not args.list:
        report(args, console)
        return
    for table, rows in tables.TABLES.items():
        for row in rows:
            console.print(f'{table:8} {row.name:30} {row.title}')


def report(args: argparse.Namespace, console: Console) -> None:
    """Run the rows and write table, JSON and plot."""
    from nextvid_mm.config_files import checked_config, home_folder
    from nextvid_mm.demo.ablations import (
        Budget,
        draw_plot,
        make_table,
        run_rows,
        select_rows,
        summarise,
    )
    from nextvid_mm.demo.data.generate import make_demo_data
    from nextvid_mm.demo.data.spec import DemoSpec
    from nextvid_mm.demo.run import DATA, PROBE, count_classes
    from nextvid_mm.files import write_text

    rows = select_rows(args.table, args.rows)
    budget = Budget(args.steps_scale, args.cfg_options, args.probe_options)
    home = home_folder()
    work_dir = (args.work_dir or home / 'work_dirs' / 'ablations').resolve()
    os.chdir(home)  # the configs find data/ there
    make_demo_data(DATA, DemoSpec())
    with own_folder(work_dir):
        results = run_rows(work_dir, rows, args.seeds, budget, args.jobs)
    summaries, classes = summarise(results), count_classes(checked_config(PROBE))
    console.print(make_table(args.table, rows, summaries, classes))
    plot = draw_plot(args.table, rows, summaries, classes, work_dir / f'{args.table}.png')
    record = dict(
        budget=asdict(budget),
        rows=[asdict(row) | dict(ours=asdict(summaries[row.name])) for row in rows],
        runs=[asdict(result) for result in results],
    )
    target = work_dir / f'{args.table}.json'
    write_text(target, json.dumps(record, indent=2) + '\n')
    console.print(f'results: {target}\nplot: {plot}')
