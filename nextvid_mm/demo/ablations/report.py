"""A comparison as people read it: tables of the terminal and of a page, and curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from nextvid_mm.demo.ablations.comparing import BOTH, Comparison, comparison
from nextvid_mm.demo.ablations.results import PROBES, QUESTIONS, RunResult
from nextvid_mm.demo.ablations.tables import FOOTNOTE, GOALS, Row
from nextvid_mm.files import save_picture, write_text


def cells(found: Comparison, row: Row) -> list[str]:
    """One line of the table."""
    entry = found.entries[row.name]
    line = [row.title, entry.seeds]
    for question in QUESTIONS:
        line += [entry.level(question), str(entry.gaps[question] or '')]
    line += [str(entry.gaps[BOTH] or ''), _seconds(entry.cpu_seconds)]
    line.append('' if row is found.rows[0] else _seconds(entry.equal_seconds))
    line += [str(entry.timed_gaps[question] or '') for question in (*QUESTIONS, BOTH)]
    return [*line, ' / '.join(row.paper) if row.paper else '–']


def _seconds(value: float) -> str:
    return '–' if math.isnan(value) else f'{value:.0f}'


#: Names of the columns of :func:`cells`. "both" is the mean of both questions.
HEADER = (
    'row', 'seeds', 'how', 'to first', 'what', 'to first', 'both, to first', 'CPU s',
    'in equal s', 'how', 'what', 'both', 'paper IN1K / SSv2',
)  # fmt: skip


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
            'paired differences with 95 % intervals, * where it leaves out 0; both: their mean',
            box=SIMPLE_HEAD,
        )
        time = Table(
            title=f'equal processor time, {PROBES[part.probe]}, and the paper',
            caption='to first, when the quicker of the two is through; paper: ViT-L, 15K steps '
            '(30K in table12), other data: compare signs, not numbers'
            + (f'\n{FOOTNOTE}' if starred else ''),
            box=SIMPLE_HEAD,
        )
        for view, places in ((steps, range(8)), (time, (0, 8, 9, 10, 11, 12))):
            for place in places:
                view.add_column(HEADER[place], justify='right' if place else 'left')
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
        lines = [f'By the {PROBES[part.probe]}:', '']
        lines += ['| ' + ' | '.join(HEADER) + ' |', '|---' * len(HEADER) + '|']
        lines += ['| ' + ' | '.join(cells(part, row)) + ' |' for row in part.rows]
        blocks.append('\n'.join(lines) + '\n')
    return '\n'.join(blocks)


def goals(results: Sequence[RunResult]) -> str:
    """What was to be shown and what came out, as a table for a page.

    Args:
        results: of the table ``compare``.
    """
    lines = [['goal', 'seeds', *PROBES.values()], ['---'] * (2 + len(PROBES))]
    for goal in GOALS:
        questions = 'both (mean)' if goal.question == BOTH else goal.question
        wanted = f'{goal.points:g} points better' if goal.points else 'better'
        when = 'equal time' if goal.timed else 'equal steps'
        line = [f'*{questions}*: {goal.row.title} {wanted} than {goal.other.title}, {when}', '0']
        for probe in PROBES:
            entries = comparison((goal.other, goal.row), results, probe).entries
            entry = entries.get(goal.row.name)
            gaps = entry and (entry.timed_gaps if goal.timed else entry.gaps)
            gap = gaps and gaps[goal.question]
            if not gap:
                line.append('not run')
                continue
            met = gap.apart and gap.mean >= goal.points
            line[1] = f'{gap.seeds}'
            line.append(f'{gap}: {"met" if met else "**missed**"}'.replace(' *:', ':'))
        lines.append(line)
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


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
    legend = axes[0][0].get_legend_handles_labels()
    figure.legend(*legend, loc='outside lower center', ncols=5)
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


def write_report(
    table: str, found: Comparison, chance: Mapping[str, float], folder: Path
) -> list[Path]:
    """Write plot and Markdown table; returns the files."""
    text = folder / f'{table}.md'
    write_text(text, markdown(found))
    return [draw_curves(table, found, chance, folder / f'{table}.png'), text]
