"""Ours beside the paper's: table and plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from nextvid_mm.demo.ablations.runs import RunResult
from nextvid_mm.demo.ablations.tables import FOOTNOTE, Row
from nextvid_mm.files import save_picture


@dataclass(frozen=True)
class Summary:
    """A row over its seeds.

    Attributes:
        mean: of top-1, %.
        std: sample standard deviation of top-1; None with a single seed.
        top1: by seed.
        seconds: mean pretraining time.
        steps: optimiser steps of each run.
    """

    mean: float
    std: float | None
    top1: dict[int, float]
    seconds: float
    steps: int

    def __str__(self) -> str:
        return f'{self.mean:.1f}' if self.std is None else f'{self.mean:.1f} ± {self.std:.1f}'


def summarise(results: Sequence[RunResult]) -> dict[str, Summary]:
    """Summaries by row, in the order of the results."""
    summaries = {}
    for name in dict.fromkeys(result.row for result in results):
        mine = [result for result in results if result.row == name]
        top1 = {result.seed: result.top1 for result in mine}
        summaries[name] = Summary(
            mean=statistics.mean(top1.values()),
            std=statistics.stdev(top1.values()) if len(top1) > 1 else None,
            top1=top1,
            seconds=statistics.mean(result.train_seconds for result in mine),
            steps=mine[0].steps,
        )
    return summaries


def make_table(
    table: str, rows: Sequence[Row], summaries: dict[str, Summary], num_classes: int
) -> Table:
    """Ours at the demo's scale (mean ± std over seeds) beside the paper's figures.

    Args:
        table: its name.
        rows: in order.
        summaries: from ``summarise``.
        num_classes: of the probe; says what chance is.
    """
    seeds = len(next(iter(summaries.values())).top1)
    view = Table(
        title=f'{table}: attentive probe on the trained encoder, top-1 (%)',
        caption=f'ours: demo scale, {seeds} seed(s), equal steps, chance {100 / num_classes:.1f}; '
        'paper: ViT-L, 15K steps (30K in table12), other data: compare signs, not numbers'
        + (f'\n{FOOTNOTE}' if any('*' in cell for row in rows for cell in row.paper or ()) else ''),
    )
    view.add_column('row')
    for name in ('ours', 'to first', 'steps', 'seconds', 'paper IN1K', 'paper SSv2'):
        view.add_column(name, justify='right')
    first = summaries[rows[0].name].mean
    for row in rows:
        entry = summaries[row.name]
        gap = f'{entry.mean - first:+.1f}' if row is not rows[0] else ''
        cells = (str(entry), gap, str(entry.steps), f'{entry.seconds:.0f}')
        view.add_row(row.title, *cells, *(row.paper or ('', '')))
    return view


def draw_plot(
    table: str, rows: Sequence[Row], summaries: dict[str, Summary], num_classes: int, path: Path
) -> Path:
    """Write a bar chart of ours, with every seed as a dot, beside the paper's.

    Args:
        table: its name.
        rows: in order, first on top.
        summaries: from ``summarise``.
        num_classes: of the probe; chance is drawn.
        path: where the PNG goes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 1.2 + 0.45 * len(rows)), layout='constrained')
    ours, paper = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    places = range(len(rows))
    entries = [summaries[row.name] for row in rows]
    errors = [entry.std or 0.0 for entry in entries]
    ours.barh(places, [entry.mean for entry in entries], xerr=errors, color='#8fb3d9', capsize=3)
    for place, entry in enumerate(entries):
        ours.plot(list(entry.top1.values()), [place] * len(entry.top1), 'k.', markersize=4)
    ours.axvline(100 / num_classes, color='grey', linestyle=':', label='chance')
    ours.set_yticks(places, [row.title for row in rows])
    ours.invert_yaxis()
    ours.set(title=f'{table}, demo scale', xlabel='probe top-1 (%), mean ± std, dots: seeds')
    ours.legend(loc='lower right')
    _draw_paper(paper, rows)
    save_picture(figure, path, dpi=120)
    return path


def _draw_paper(axes: Any, rows: Sequence[Row]) -> None:
    """The paper's figures; rows it does not have stay empty, bounds are drawn up to the bound."""
    height = 0.38
    for column, (name, colour) in enumerate((('IN1K', '#d9a88f'), ('SSv2', '#b08fd9'))):
        known = [(place, row.paper[column]) for place, row in enumerate(rows) if row.paper]
        places = [place + (column - 0.5) * height for place, _ in known]
        values = [float(text.strip('<* ')) for _, text in known]
        bars = axes.barh(places, values, height, color=colour, label=name)
        axes.bar_label(bars, [text for _, text in known], padding=2, fontsize=8)
    axes.set(title='paper (arXiv 2512.21004)', xlabel='probe top-1 (%)', xlim=(0, 100))
    axes.legend(loc='lower right')
