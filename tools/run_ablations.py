"""Run a table of ablations or baselines at the demo's scale and print it beside the paper's."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmengine.config import Config, DictAction
from rich.console import Console

from nextvid_mm.demo.ablations import (
    TABLES,
    Budget,
    draw_plot,
    make_table,
    run_rows,
    select_rows,
    summarise,
)
from nextvid_mm.demo.data import DemoSpec, make_demo_data
from nextvid_mm.demo.run import DATA, PROBE, count_classes

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


def main() -> None:
    """Parse the flags, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--list', action='store_true', help='show the rows of every table and stop')
    add('--table', default='compare', choices=list(TABLES), help='default: compare')
    add('--rows', nargs='+', default=[], help='some rows of the table (default: all)')
    add('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    add('--steps-scale', type=float, default=1.0, help="factor on the demo's steps, default 1")
    add('--jobs', type=int, default=1, help='pretrainings at a time (default: 1)')
    add('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'ablations', help='runs and results')
    for name, what in (('--cfg-options', 'all pretraining configs'), ('--probe-options', PROBE)):
        add(name, nargs='+', action=DictAction, default={}, metavar='KEY=VALUE', help=f'for {what}')
    args = parser.parse_args()
    console = Console(highlight=False)
    if args.list:
        for table, rows in TABLES.items():
            for row in rows:
                console.print(f'{table:8} {row.name:30} {row.title}')
        return
    try:
        report(args, console)
    except (ValueError, RuntimeError, FileNotFoundError) as error:
        sys.exit(f'run_ablations: error: {error}')


def report(args: argparse.Namespace, console: Console) -> None:
    """Run the rows and write table, JSON and plot."""
    rows, work_dir = select_rows(args.table, args.rows), args.work_dir.resolve()
    budget = Budget(args.steps_scale, args.cfg_options, args.probe_options)
    os.chdir(ROOT)  # the configs find data/ there
    make_demo_data(DATA, DemoSpec())
    results = run_rows(ROOT, work_dir, rows, args.seeds, budget, args.jobs)
    summaries, classes = summarise(results), count_classes(Config.fromfile(ROOT / PROBE))
    console.print(make_table(args.table, rows, summaries, classes))
    plot = draw_plot(args.table, rows, summaries, classes, work_dir / f'{args.table}.png')
    record = dict(
        budget=asdict(budget),
        rows=[asdict(row) | dict(ours=asdict(summaries[row.name])) for row in rows],
        runs=[asdict(result) for result in results],
    )
    target = work_dir / f'{args.table}.json'
    target.write_text(json.dumps(record, indent=2) + '\n')
    console.print(f'results: {target}\nplot: {plot}')


if __name__ == '__main__':
    main()
