"""The table: means over seeds with intervals, as text, JSON, picture and rows of a model card."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from nextvid_mm.evaluation.intervals import CONFIDENCE, half_interval
from nextvid_mm.files import save_picture, write_text

TITLES = dict(knn='k-NN', linear='linear', attentive='attentive', finetuned='fine-tuned')
Column = tuple[str, str, float]


@dataclass(frozen=True)
class Entry:
    """A cell of the table, over its seeds.

    Attributes:
        mean: of top-1, %.
        margin: half of the 95 % interval of the mean by Student's t; None with one seed, or if
            nothing in the cell follows from the seed: k-NN and linear probes of all labels on one
            set of weights.
        top1: by seed.
        seconds: mean of what the cell took besides encoding.
    """

    mean: float
    margin: float | None
    top1: dict[int, float]
    seconds: float

    def __str__(self) -> str:
        return f'{self.mean:.1f}' + ('' if self.margin is None else f' ± {self.margin:.1f}')


def summarise(
    records: Sequence[Mapping[str, Any]],
) -> tuple[list[str], list[Column], dict[tuple[str, Column], Entry]]:
    """Rows, columns and entries of the records of cells.

    Raises:
        ValueError: if there are none.
    """
    if not records:
        raise ValueError('no cell is done: there is nothing to lay out')
    by_place: dict[tuple[str, Column], dict[int, Mapping[str, Any]]] = {}
    for record in records:
        column = record['data'], record['protocol'], float(record['labels'])
        by_place.setdefault((record['encoder'], column), {})[record['seed']] = record
    entries = {place: _entry(place[1], cells) for place, cells in by_place.items()}
    rows = list(dict.fromkeys(row for row, _ in entries))
    order = list(TITLES)
    columns = sorted({c for _, c in entries}, key=lambda c: (c[0], order.index(c[1]), c[2]))
    return rows, columns, entries


def _entry(column: Column, cells: Mapping[int, Mapping[str, Any]]) -> Entry:
    top1 = {seed: float(cells[seed]['top1']) for seed in sorted(cells)}
    values = list(top1.values())
    encoders = {cell['identity'] for cell in cells.values()}
    drawn = column[1] not in ('knn', 'linear') or column[2] < 100 or len(encoders) > 1
    margin = half_interval(values) if drawn and len(values) > 1 else None
    seconds = statistics.mean(cell['seconds'] for cell in cells.values())
    return Entry(statistics.mean(values), margin, top1, seconds)


def make_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The table of all cells."""
    rows, columns, entries = summarise(records)
    table = Table(
        title='top-1 on validation (%)',
        caption='± is half of the 95 % interval of the mean over seeds (labels, order, new '
        'weights); none where nothing is drawn. Attentive: the best of the grid on validation.',
    )
    table.add_column('encoder')
    for data, protocol, labels in columns:
        table.add_column(f'{data}\n{TITLES[protocol]}\n{labels:g} % labels', justify='right')
    for row in rows:
        cells = (entries.get((row, column)) for column in columns)
        table.add_row(row, *('' if cell is None else str(cell) for cell in cells))
    return table


def write_results(records: Sequence[Mapping[str, Any]], folder: Path) -> dict[str, Path]:
    """Write ``evaluation.json``, ``.md`` (rows of a model card) and ``.png``."""
    rows, columns, entries = summarise(records)
    cells = [
        dict(encoder=row, data=c[0], protocol=c[1], labels=c[2], **asdict(entries[row, c]))
        for row in rows
        for c in columns
        if (row, c) in entries
    ]
    paths = {ending: folder / f'evaluation.{ending}' for ending in ('json', 'md', 'png')}
    budgets = {f'{r["data"]} {r["protocol"]} {r["labels"]:g}': r['budget'] for r in records}
    content = dict(confidence=CONFIDENCE, entries=cells, budgets=budgets)
    write_text(paths['json'], json.dumps(content, indent=1) + '\n')
    heads = [f'{data}, {TITLES[kind]}, {labels:g} %' for data, kind, labels in columns]
    lines = ['| encoder | ' + ' | '.join(heads) + ' |', '|---' * (len(heads) + 1) + '|']
    for row in rows:
        words = [str(entries.get((row, column), '')) for column in columns]
        lines.append(f'| {row} | ' + ' | '.join(words) + ' |')
    write_text(paths['md'], '\n'.join(lines) + '\n')
    draw(rows, columns, entries, paths['png'])
    return paths


def draw(
    rows: Sequence[str],
    columns: Sequence[Column],
    entries: Mapping[tuple[str, Column], Entry],
    path: Path,
) -> None:
    """Accuracy against the share of labels: a panel for each data set and protocol."""
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(column[:2] for column in columns))
    figure = Figure(figsize=(3.4 * len(panels) + 1, 3.4), layout='constrained')
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, panel in zip(axes, panels, strict=True):
        shares = [column[2] for column in columns if column[:2] == panel]
        for row in rows:
            places = {share: (row, (*panel, share)) for share in shares}
            found = [(share, entries[at]) for share, at in places.items() if at in entries]
            if found:
                axis.errorbar(
                    [share for share, _ in found],
                    [entry.mean for _, entry in found],
                    yerr=[entry.margin or 0.0 for _, entry in found],
                    marker='o',
                    capsize=3,
                    label=row,
                )
        axis.set(title=f'{panel[0]}, {TITLES[panel[1]]}', xlabel='labels used (%)', xscale='log')
        axis.set_xticks(shares, [f'{share:g}' for share in shares])
        axis.minorticks_off()
    axes[0].set_ylabel('top-1 (%)')
    axes[0].legend(fontsize=7)
    save_picture(figure, path, dpi=120)
