"""Rows side by side: tables at equal steps and at equal processor time, curves, a plot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import t as student

from nextvid_mm.demo.ablations.results import (
    PROBES,
    QUESTIONS,
    Budget,
    RunResult,
    check_budget,
    read_result,
)
from nextvid_mm.demo.ablations.tables import FOOTNOTE, Row, select_rows
from nextvid_mm.files import save_picture, write_text

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Paired differences of two rows, over the seeds that both have.

    Attributes:
        mean: row minus first row, points.
        half: half the width of the 95 % interval (Student's t); infinite with one seed.
        seeds: how many.
    """

    mean: float
    half: float
    seeds: int

    @property
    def apart(self) -> bool:
        """Whether the interval leaves out 0: only then is a row better or worse."""
        return abs(self.mean) > self.half

    def __str__(self) -> str:
        if math.isinf(self.half):
            return f'{self.mean:+.1f}'
        return f'{self.mean:+.1f} ± {self.half:.1f}{" *" if self.apart else ""}'


@dataclass(frozen=True)
class Entry:
    """A row over its seeds, at one budget.

    Attributes:
        top1: by question and seed, %.
        gaps: to the first row, by question; None of the first row itself and without common seeds.
        cpu_seconds: mean of the runs, on one machine.
        collapsed: seeds whose features have collapsed; they count like any other.
        steps: optimiser steps of each run.
    """

    top1: dict[str, dict[int, float]]
    gaps: dict[str, Difference | None]
    cpu_seconds: float
    collapsed: list[int]
    steps: int

    def level(self, question: str) -> str:
        """Mean ± sample standard deviation over seeds."""
        values = list(self.top1[question].values())
        mean = statistics.mean(values)
        return f'{mean:.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')

    @property
    def seeds(self) -> str:
        """How many, and which of them collapsed."""
        count = len(next(iter(self.top1.values())))
        lost = ', '.join(map(str, self.collapsed))
        return f'{count}' + (f' (collapsed: {lost})' if lost else '')


@dataclass(frozen=True)
class Comparison:
    """All rows that have results.

    Attributes:
        rows: in order; the first is what others are compared with.
        steps: entries by row at the end of the runs.
        time: entries by row when the quickest row was through, ``seconds`` of processor time.
        seconds: of the quickest trained row.
        results: everything, times on one machine.
        probe: whose accuracies these are, a key of ``PROBES``.
    """

    rows: list[Row]
    steps: dict[str, Entry]
    time: dict[str, Entry]
    seconds: float
    results: list[RunResult]
    probe: str


def paired(mine: Mapping[int, float], first: Mapping[int, float]) -> Difference | None:
    """Differences over common seeds; None if there are none."""
    gaps = [value - first[seed] for seed, value in mine.items() if seed in first]
    if not gaps:
        return None
    if len(gaps) == 1:
        return Difference(gaps[0], math.inf, 1)
    spread = statistics.stdev(gaps) / math.sqrt(len(gaps))
    half = float(student.ppf((1 + CONFIDENCE) / 2, len(gaps) - 1)) * spread
    return Difference(statistics.mean(gaps), half, len(gaps))


def on_one_machine(results: Sequence[RunResult], first: str) -> list[RunResult]:
    """Results with processor times as the machine that has run ``first`` most would have taken.

    Another machine's times are scaled by what ``first`` took on both. They are NaN for trained rows
    of a machine that has not run ``first``.
    """
    taken: dict[str, list[float]] = {}
    for result in results:
        if result.row == first:
            taken.setdefault(str(result.machine), []).append(result.last.cpu_seconds)
    if not taken:
        return list(results)
    measure = statistics.mean(taken[max(taken, key=lambda kind: len(taken[kind]))])
    factors = {
        kind: measure / statistics.mean(times) for kind, times in taken.items() if all(times)
    }
    scaled = []
    for result in results:
        factor = factors.get(str(result.machine), math.nan)
        moments = [
            replace(m, cpu_seconds=m.cpu_seconds and m.cpu_seconds * factor) for m in result.moments
        ]
        scaled.append(replace(result, moments=moments))
    return scaled


def comparison(
    rows: Sequence[Row], results: Sequence[RunResult], probe: str = 'top1'
) -> Comparison:
    """Compare rows that have results, by one of ``PROBES``; the first of them is the measure."""
    there = [row for row in rows if any(r.row == row.name for r in results)]
    results = on_one_machine(results, there[0].name) if there else []
    by_row = {row.name: [r for r in results if r.row == row.name] for row in there}
    costs = {name: _mean(r.last.cpu_seconds for r in runs) for name, runs in by_row.items()}
    seconds = min((cost for cost in costs.values() if cost > 0), default=0.0)
    tables = []
    for limit in (math.inf, seconds):
        entries: dict[str, Entry] = {}
        for row in there:
            top1 = {
                question: {
                    r.seed: r.at_seconds(limit, question, probe)
                    for r in by_row[row.name]
                    if math.isinf(limit) or not math.isnan(r.last.cpu_seconds)
                }
                for question in QUESTIONS
            }
            first = entries[there[0].name].top1 if entries else None
            entries[row.name] = Entry(
                top1=top1,
                gaps={q: paired(top1[q], first[q]) if first else None for q in QUESTIONS},
                cpu_seconds=costs[row.name],
                collapsed=[r.seed for r in by_row[row.name] if r.collapsed],
                steps=by_row[row.name][0].last.step,
            )
        tables.append(entries)
    steps, time = tables
    return Comparison(there, steps, time, seconds, results, probe)


def _mean(times: Iterable[float]) -> float:
    """Of those that are known; NaN if none is."""
    known = [time for time in times if not math.isnan(time)]
    return statistics.mean(known) if known else math.nan


def cells(found: Comparison, row: Row) -> list[str]:
    """One line of the table."""
    steps, time = found.steps[row.name], found.time[row.name]
    line = [row.title, steps.seeds]
    for question in QUESTIONS:
        line += [steps.level(question), str(steps.gaps[question] or '')]
    line += [f'{steps.cpu_seconds:.0f}']
    line += [str(time.gaps[question] or '') for question in QUESTIONS]
    return [*line, ' / '.join(row.paper) if row.paper else '–']


def header(found: Comparison) -> list[str]:
    """Names of the columns of :func:`cells`."""
    equal = f'in {found.seconds:.0f} s'
    return [
        'row', 'seeds', 'how', 'to first', 'what', 'to first', 'CPU s', f'how, to first {equal}',
        f'what, to first {equal}', 'paper IN1K / SSv2',
    ]  # fmt: skip


def make_tables(table: str, found: Comparison, chance: Mapping[str, float]) -> list[Table]:
    """Ours at equal steps, by each probe, then at equal processor time beside the paper's figures.

    Args:
        table: its name.
        found: from :func:`comparison`.
        chance: %, by question.
    """
    shown = ', '.join(f'{question} {value:.1f}' for question, value in chance.items())
    starred = any('*' in cell for row in found.rows for cell in row.paper or ())
    views = []
    for part in by_probe(found):
        steps = Table(
            title=f'{table}: {PROBES[part.probe]}, on the trained encoder, top-1 (%)',
            caption=f'demo scale, equal steps; mean ± std over seeds; chance: {shown}; to first: '
            'paired differences with 95 % intervals, * where it leaves out 0',
            box=SIMPLE_HEAD,
        )
        time = Table(
            title=f'equal processor time, {PROBES[part.probe]}, and the paper',
            caption='paper: ViT-L, 15K steps (30K in table12), other data: compare signs, not '
            'numbers' + (f'\n{FOOTNOTE}' if starred else ''),
            box=SIMPLE_HEAD,
        )
        for view, places in ((steps, range(7)), (time, (0, 7, 8, 9))):
            for place in places:
                view.add_column(header(part)[place], justify='right' if place else 'left')
            for row in part.rows:
                line = cells(part, row)
                view.add_row(*(line[place] for place in places))
        views += [steps, time]
    return views


def by_probe(found: Comparison) -> list[Comparison]:
    """The same rows and results by each probe."""
    return [comparison(found.rows, found.results, probe) for probe in PROBES]


def markdown(found: Comparison) -> str:
    """The tables for a page, one for each probe."""
    blocks = []
    for part in by_probe(found):
        names = header(part)
        lines = [f'By the {PROBES[part.probe]}:', '']
        lines += ['| ' + ' | '.join(names) + ' |', '|---' * len(names) + '|']
        lines += ['| ' + ' | '.join(cells(part, row)) + ' |' for row in part.rows]
        blocks.append('\n'.join(lines) + '\n')
    return '\n'.join(blocks)


def draw_curves(table: str, found: Comparison, chance: Mapping[str, float], path: Path) -> Path:
    """Write curves of both questions and probes, against steps and against processor time.

    Thick lines are means over seeds, thin ones seeds; a seed whose features collapsed ends in a
    cross.

    Args:
        table: its name.
        found: from :func:`comparison`.
        chance: %, by question; drawn.
        path: where the PNG goes.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 16), layout='constrained')
    views = [(question, probe) for question in QUESTIONS for probe in PROBES]
    axes = figure.subplots(len(views), 2, squeeze=False)
    names = 10 if len(found.rows) <= 10 else 20
    colours = colormaps[f'tab{names}'](range(names))
    for line, (question, probe) in enumerate(views):
        for place, (key, label) in enumerate(
            (('step', 'optimiser steps'), ('cpu_seconds', 'processor seconds'))
        ):
            axis: Any = axes[line][place]
            for number, row in enumerate(found.rows):
                runs = [r for r in found.results if r.row == row.name]
                colour = colours[number % len(colours)]
                _draw_row(axis, runs, key, (probe, question), colour, row.title)
            axis.axhline(chance[question], color='grey', linestyle=':')
            axis.set(xlabel=label, ylabel=f'{question}, {PROBES[probe]}: top-1 (%)')
    axes[0][0].legend(fontsize=8)
    figure.suptitle(f'{table}, demo scale; probes at five moments of every run')
    save_picture(figure, path, dpi=120)
    return path


def _draw_row(
    axis: Any, runs: Sequence[RunResult], key: str, view: tuple[str, str], colour: Any, title: str
) -> None:
    probe, question = view
    if all(len(run.moments) == 1 for run in runs):
        level = statistics.mean(getattr(run.last, probe)[question] for run in runs)
        axis.axhline(level, color=colour, linestyle='--', label=title)
        return
    curves = []
    for run in runs:
        places = [getattr(moment, key) for moment in run.moments]
        values = [getattr(moment, probe)[question] for moment in run.moments]
        axis.plot(places, values, color=colour, linewidth=0.5)
        if run.collapsed:
            axis.plot(places[-1], values[-1], 'x', color=colour)
        curves.append((places, values))
    if len({len(places) for places, _ in curves}) == 1:
        places, values = (
            [statistics.mean(column) for column in zip(*part, strict=True)]
            for part in zip(*curves, strict=True)
        )
        axis.plot(places, values, '.-', color=colour, linewidth=2, label=title)


def best_settings(found: Comparison) -> list[Row]:
    """Of the table ``search``: for each config the row with the highest mean of both questions."""
    best: dict[str | None, tuple[float, Row]] = {}
    for row in found.rows:
        top1 = found.steps[row.name].top1
        value = statistics.mean(v for question in QUESTIONS for v in top1[question].values())
        if row.config not in best or value > best[row.config][0]:
            best[row.config] = value, row
    return [row for _, row in best.values()]


def tuned(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Rows with the best setting that a search has found for their method, others as they are.

    Args:
        rows: of a table.
        folder: results of the table ``search``, of one budget.

    Raises:
        FileNotFoundError: if a searched method of ``rows`` has a setting without result.
    """
    methods = {row.config for row in rows}
    searched = [row for row in select_rows('search') if row.config in methods]
    files = {row.name: sorted(folder.glob(f'{row.name}_seed_*.json')) for row in searched}
    if missing := [name for name, found in files.items() if not found]:
        raise FileNotFoundError(
            f'{folder} has no result of {missing[0]}, nor of {len(missing) - 1} other settings: '
            'every setting of a method must be run before the best is taken (--table search)'
        )
    results = [read_result(file) for found in files.values() for file in found]
    check_budget(folder, Budget(**results[0].budget))
    best = {row.config: row for row in best_settings(comparison(searched, results))}
    # What a row has anyway keeps its name, so that its runs are not repeated.
    settings = {c: r for c, r in best.items() if r.options or r.rate != 1}
    return [settings.get(row.config, row) for row in rows]


def write_report(
    table: str, found: Comparison, chance: Mapping[str, float], folder: Path
) -> list[Path]:
    """Write plot and Markdown table; returns the files."""
    text = folder / f'{table}.md'
    write_text(text, markdown(found))
    return [draw_curves(table, found, chance, folder / f'{table}.png'), text]
