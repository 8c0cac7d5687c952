"""Run a table of ablations or baselines at the demo's scale and print it beside the paper's."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from nextvid_mm.checks import check_count
from nextvid_mm.cli.flags import CfgOptions, add_shared
from nextvid_mm.run_folder import own_folder

if TYPE_CHECKING:
    from rich.console import Console

    from nextvid_mm.demo.ablations import RunResult

GOES_ON = 'The same command goes on with what is missing'
EPILOG = """\
Every row has the same clips in the same order, the same number of optimiser steps and the same
probes, which stand on the trained encoder ('encoder', not its EMA) for all rows: k-NN and
attentive, *how* and *what*, at five moments of every run. Rows are compared at equal steps and,
from the same runs, at equal processor time. A run that is done is not repeated; an interrupted one
goes on.

examples:
  python tools/run_ablations.py --list
  python tools/run_ablations.py --table compare --seeds 0 1 2 3 4 --jobs 2
  python tools/run_ablations.py --table compare --rows table2_full untrained
  # of what is there already; nothing is run
  python tools/run_ablations.py --table compare --results benchmarks/results/ablations --no-run
  # what learning rate and masks suit each method, on another seed
  python tools/run_ablations.py --table search --seeds 100 --steps-scale 0.3 --work-dir search
  # width x clips, with a fit
  python tools/run_ablations.py --table scaling --seeds 0 --work-dir scaling

A row at the paper's scale is a config like any other:
  python tools/train.py configs/ablations/table4_masking-none.py
"""


TABLES = (
    'compare', 'table2', 'table3', 'table4', 'table5', 'table11', 'table12', 'extra', 'grid',
    'search', 'scaling',
)  # fmt: skip


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('--list', action='store_true', help='show the rows of every table and stop')
    add('--table', default='compare', choices=TABLES, help='default: compare')
    add('--rows', nargs='+', default=[], help='some rows of the table (default: all)')
    add_shared(parser, '--seeds', default=[0, 1, 2, 3, 4])
    add('--steps-scale', type=float, default=1.0, help="factor on the demo's steps, default 1")
    add('--jobs', type=int, default=1, help='runs at a time, of one thread (default: 1)')
    add_shared(parser, '--work-dir', '(default: work_dirs/ablations)', type=Path)
    add(
        '--results',
        type=Path,
        help='folder with one JSON file for every run that is done, read and written (default: the '
        'work directory)',
    )
    add('--no-run', action='store_true', help='show what is there, run nothing')
    add_shared(parser, '--cfg-options', '(of all pretraining configs)', default={})
    add(
        '--probe-options',
        nargs='+',
        action=CfgOptions,
        default={},
        metavar='KEY=VALUE',
        help='the same for configs/probe/demo.py and demo_what.py',
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
    """Run the rows and write table and plots."""
    from rich.markdown import Markdown

    from nextvid_mm.config_files import checked_config, home_folder
    from nextvid_mm.demo.ablations import (
        Budget,
        best_settings,
        comparison,
        goals,
        make_tables,
        read_folder,
        run_rows,
        select_rows,
        write_report,
    )
    from nextvid_mm.demo.ablations.tables import AUTOENCODER
    from nextvid_mm.demo.data.generate import make_demo_data
    from nextvid_mm.demo.data.spec import DemoSpec
    from nextvid_mm.demo.run import DATA, PROBES, count_classes

    check_count(args.jobs, '--jobs')
    rows = select_rows(args.table, args.rows)
    budget = Budget(args.steps_scale, args.cfg_options, args.probe_options)
    home = home_folder()
    work_dir = (args.work_dir or home / 'work_dirs' / 'ablations').resolve()
    folder = (args.results or work_dir).resolve()
    if args.no_run:
        results = read_folder(folder, rows, args.seeds, budget)
        if not results:
            raise FileNotFoundError(
                f'{folder} holds no result of {args.table} with seeds {args.seeds}: run without '
                '--no-run, or name another --results'
            )
        work_dir.mkdir(parents=True, exist_ok=True)
    else:
        os.chdir(home)  # the configs find data/ there
        make_demo_data(DATA, DemoSpec())
        if any(row.config == AUTOENCODER for row in rows):
            from nextvid_mm.demo.ablations.autoencoder import make_autoencoder

            make_autoencoder(Path(DATA))
        with own_folder(work_dir):
            results = run_rows(work_dir, rows, args.seeds, budget, args.jobs, folder)
    chance = {q: 100 / count_classes(checked_config(path)) for q, path in PROBES.items()}
    found = comparison(rows, results)
    console.print(*make_tables(args.table, found, chance))
    written = write_report(args.table, found, chance, work_dir)
    if args.table == 'compare':
        console.print(Markdown(goals(results)))
    if args.table == 'search':
        for row in best_settings(found):
            console.print(f'best of its method, mean of both questions: {row.title}')
    if args.table == 'scaling':
        written.append(show_scaling(results, work_dir, console))
    console.print(f'results: {folder}', *written, sep='\n')


def show_scaling(results: list[RunResult], work_dir: Path, console: Console) -> Path:
    """Print and draw what another doubling brings."""
    from nextvid_mm.demo.ablations.scaling import draw_scaling, fit_scaling

    fits = fit_scaling(results)
    for fit in fits:
        console.print(str(fit))
    return draw_scaling(results, fits, work_dir / 'scaling_fit.png')
