"""``python -m benchmarks.pages``: write the tables and figures of the docs that come from results.

What stands between ``<!-- NAME -->`` and ``<!-- end -->`` in a page is made from the JSON files in
``benchmarks/results``, and so are the curves of the comparison. Run it from the root of the
repository when a result has been added; a test compares.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.states import QUANTITIES
from benchmarks.worlds.compare import markdown as world_table
from benchmarks.worlds.compare import validation_labels
from nextvid_mm.config_files import checked_config
from nextvid_mm.demo.ablations import (
    TABLES,
    Budget,
    Row,
    RunResult,
    comparison,
    goals,
    markdown,
    read_folder,
    select_rows,
)
from nextvid_mm.demo.ablations.comparing import Comparison
from nextvid_mm.demo.ablations.report import draw_curves
from nextvid_mm.demo.ablations.results import QUESTIONS
from nextvid_mm.demo.ablations.tables import SEARCHED_RATES
from nextvid_mm.demo.run import PROBES, count_classes
from nextvid_mm.files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / 'benchmarks/results'
COMPARE = TABLES['compare']
#: Seeds of any number are taken, whichever are there.
SEEDS = range(1000)
#: Moments of runs that are not probed at all five, by folder.
MOMENTS = dict(search=[1.0], grid=[0.4, 1.0])
#: Rows in the README.
README_ROWS = ('table2_full', 'small-grid', 'next-frame', 'untrained')
_NOT_RUN = '–'


def read(folder: str, rows: Sequence[Row], steps_scale: float = 1.0) -> list[RunResult]:
    """Results of rows in one folder of ``benchmarks/results``."""
    moments = MOMENTS.get(folder)
    options = {'default_hooks.moments.fractions': moments} if moments else {}
    return read_folder(RESULTS / folder, rows, SEEDS, Budget(steps_scale, options))


def compared() -> Comparison:
    """The table ``compare``, of the runs that are in."""
    return comparison(COMPARE, read('ablations', COMPARE))


def table(*lines: Sequence[str]) -> str:
    """Cells as Markdown; the first line is the head."""
    head, *rest = lines
    return ''.join(f'| {" | ".join(line)} |\n' for line in (head, ['---'] * len(head), *rest))


def paper_tables() -> str:
    """The paper's tables: rows that have been run beside a first one, and names of the others."""
    lines, missing = [['table', 'row', 'seeds']], []
    for question in (*QUESTIONS, *(f'{question}, k-NN' for question in QUESTIONS)):
        lines[0] += [question, 'to first']
    lines[0].append('paper IN1K / SSv2')
    full, *_ = COMPARE
    for name, listed in TABLES.items():
        if not name.startswith('table'):
            continue
        # Tables without alignment have a first row of their own to be compared with.
        own = name in ('table4', 'table5')
        rows = listed if own else [full, *(row for row in listed if row.name != full.name)]
        results = read('ablations', rows)
        by_probe = [comparison(rows, results, probe) for probe in ('top1', 'knn')]
        number = name.removeprefix('table')
        there = by_probe[0].rows
        missing += [f'{r.title} ({number})' for r in rows if r not in there and not r.weights]
        for row in there if len(there) > 1 else ():
            entries = [found.entries[row.name] for found in by_probe]
            line = [number, row.title, entries[0].seeds]
            for entry in entries:
                for question in QUESTIONS:
                    line += [entry.level(question), str(entry.gaps[question] or '')]
            lines.append([*line, ' / '.join(row.paper) if row.paper else _NOT_RUN])
    listing = f'\nNot run yet (table in brackets): {"; ".join(missing)}.\n' if missing else ''
    return table(*lines) + listing


def search() -> str:
    """*How* / *what* of every setting of a method that has been run, a column a rate."""
    rows = select_rows('search')
    found = {run.row: run.last.top1 for run in read('search', rows, 0.3)}
    cells: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        method, _, setting = row.title.split(', ', 2)
        levels = found.get(row.name, {})
        cell = ' / '.join(f'{levels[question]:.1f}' for question in QUESTIONS if levels)
        cells.setdefault((method, setting), []).append(cell or _NOT_RUN)
    lines = [[*name, *line] for name, line in cells.items() if set(line) != {_NOT_RUN}]
    return table(['method', 'setting', *(f'{rate:g} x rate' for rate in SEARCHED_RATES)], *lines)


def states() -> str:
    """What is read off the tokens of encoders of the demo."""
    records = json.loads((RESULTS / 'states.json').read_text(encoding='utf-8'))
    lines = [['encoder', *QUANTITIES, 'outline, %', 'effective rank']]
    for name, record in records.items():
        numbers = [f'{record[quantity]:.2f}' for quantity in QUANTITIES]
        lines.append([name, *numbers, f'{record["kind"]:.1f}', f'{record["rank"]:.1f}'])
    return table(*lines)


def chances() -> dict[str, float]:
    """Top-1 of guessing, %, by question."""
    return {q: 100 / count_classes(checked_config(path)) for q, path in PROBES.items()}


def readme() -> str:
    """Some rows of the comparison, with chance."""
    found = compared()
    lines = [['', *QUESTIONS, 'processor seconds of pretraining']]
    for row in found.rows:
        if row.name in README_ROWS:
            entry = found.entries[row.name]
            levels = [entry.level(question) for question in QUESTIONS]
            lines.append([row.title, *levels, f'{entry.cpu_seconds:.0f}'])
    chance = chances()
    lines.append(['chance', *(f'{chance[question]:.1f}' for question in QUESTIONS), ''])
    return table(*lines)


#: What makes each block, by page and name.
BLOCKS: dict[str, dict[str, Callable[[], str]]] = {
    'README.md': dict(seeds=readme),
    'docs/ablations.md': dict(
        goals=lambda: goals(read('ablations', COMPARE)),
        compare=lambda: markdown(compared()),
        grid=lambda: markdown(comparison(TABLES['grid'], read('grid', TABLES['grid']))),
        paper=paper_tables,
        search=search,
        states=states,
    ),
    'docs/second_world.md': dict(
        worlds=lambda: world_table(RESULTS / 'worlds', validation_labels())
    ),
}


def written(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """A page with its blocks made anew.

    Raises:
        ValueError: if it lacks one of them, or has one twice.
    """
    for name, make in blocks.items():
        parts = re.split(rf'(?<=<!-- {name} -->\n)', text)
        if len(parts) != 2 or '<!-- end -->' not in parts[1]:
            raise ValueError(f'a page must have <!-- {name} --> ... <!-- end --> once')
        _, end, rest = parts[1].partition('<!-- end -->')
        text = parts[0] + make() + end + rest
    return text


def main(words: Sequence[str] | None = None) -> None:
    """Write what has changed, and say so."""
    argparse.ArgumentParser('python -m benchmarks.pages', description=__doc__).parse_args(words)
    for page, blocks in BLOCKS.items():
        path = ROOT / page
        text = path.read_text(encoding='utf-8')
        if (new := written(text, blocks)) != text:
            write_text(path, new)
            print(f'written: {page}')
    print(draw_curves('compare', compared(), chances(), ROOT / 'docs/figures/compare.png'))


if __name__ == '__main__':
    main()
