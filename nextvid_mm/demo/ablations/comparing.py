"""Numbers of rows side by side: at equal steps and at equal processor time, paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from nextvid_mm.demo.ablations.results import QUESTIONS, RunResult
from nextvid_mm.demo.ablations.tables import Row
from nextvid_mm.evaluation.intervals import half_interval

#: The mean of both questions.
BOTH = 'both'


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
    """A row over its seeds, beside the first row.

    Attributes:
        top1: at the end of the runs, %, by question (and their mean, ``BOTH``) and seed.
        gaps: to the first row at equal steps, by question; None of the first row itself and
            without common seeds.
        equal_seconds: processor time at which the quicker of the two rows is through; NaN where
            a time is not known, or nothing is trained.
        timed_gaps: to the first row after that time.
        cpu_seconds: mean of the runs, on one machine.
        collapsed: seeds whose features have collapsed; they count like any other.
        float32: how many of the runs were computed without bfloat16.
    """

    top1: dict[str, dict[int, float]]
    gaps: dict[str, Difference | None]
    equal_seconds: float
    timed_gaps: dict[str, Difference | None]
    cpu_seconds: float
    collapsed: list[int]
    float32: int

    def level(self, question: str) -> str:
        """Mean ± sample standard deviation over seeds."""
        values = list(self.top1[question].values())
        mean = statistics.mean(values)
        return f'{mean:.1f}' + (f' ± {statistics.stdev(values):.1f}' if len(values) > 1 else '')

    @property
    def seeds(self) -> str:
        """How many, in what precision, and which of them collapsed."""
        notes = [f'{self.float32} in float32'] if self.float32 else []
        if self.collapsed:
            notes.append(f'collapsed: {", ".join(map(str, self.collapsed))}')
        count = len(next(iter(self.top1.values())))
        return f'{count}' + (f' ({"; ".join(notes)})' if notes else '')


@dataclass(frozen=True)
class Comparison:
    """All rows that have results.

    Attributes:
        rows: in order; the first is what others are compared with.
        entries: by row.
        results: everything, times on one machine.
        probe: whose accuracies these are, a key of ``PROBES``.
    """

    rows: list[Row]
    entries: dict[str, Entry]
    results: list[RunResult]
    probe: str


def paired(mine: Mapping[int, float], first: Mapping[int, float]) -> Difference | None:
    """Differences over common seeds; None if there are none."""
    gaps = [value - first[seed] for seed, value in mine.items() if seed in first]
    if not gaps:
        return None
    half = half_interval(gaps) if len(gaps) > 1 else math.inf
    return Difference(statistics.mean(gaps), half, len(gaps))


def on_one_machine(results: Sequence[RunResult], first: str) -> list[RunResult]:
    """Results with processor times as the machine that has run ``first`` most would have taken.

    Another machine's times are scaled by what rows that both have run took there and here, in the
    geometric mean. They are NaN for trained rows of a machine without such a row.
    """
    taken: dict[str, dict[str, list[float]]] = {}
    for result in results:
        if result.last.cpu_seconds:
            rows = taken.setdefault(str(result.machine), {})
            rows.setdefault(result.row, []).append(result.last.cpu_seconds)
    if not any(first in rows for rows in taken.values()):
        return list(results)
    measure = max(taken.values(), key=lambda rows: len(rows.get(first, ())))
    factors = {
        kind: statistics.geometric_mean(
            statistics.mean(measure[row]) / statistics.mean(rows[row]) for row in common
        )
        for kind, rows in taken.items()
        if (common := measure.keys() & rows.keys())
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
    entries: dict[str, Entry] = {}
    for name, runs in by_row.items():
        first = there[0].name
        shared = min(costs[name], costs[first])
        seconds = shared if shared > 0 and name != first else math.nan
        top1 = _accuracies(runs, math.inf, probe)
        entries[name] = Entry(
            top1=top1,
            gaps=_gaps(top1, {} if name == first else entries[first].top1),
            equal_seconds=seconds,
            timed_gaps=_gaps(
                *(_accuracies(part, seconds, probe) for part in (runs, by_row[first]))
            ),
            cpu_seconds=costs[name],
            collapsed=[r.seed for r in runs if r.collapsed],
            float32=sum(not r.machine.get('bfloat16', True) for r in runs if r.last.step),
        )
    return Comparison(there, entries, results, probe)


def _accuracies(
    runs: Sequence[RunResult], seconds: float, probe: str
) -> dict[str, dict[int, float]]:
    """By question, and of their mean, and by seed; without runs that say nothing of that time."""
    found: dict[str, dict[int, float]] = {question: {} for question in (*QUESTIONS, BOTH)}
    for run in runs:
        values = {question: run.at_seconds(seconds, question, probe) for question in QUESTIONS}
        values[BOTH] = statistics.mean(values.values())
        if not math.isnan(values[BOTH]):
            for question, value in values.items():
                found[question][run.seed] = value
    return found


def _gaps(
    mine: Mapping[str, Mapping[int, float]], first: Mapping[str, Mapping[int, float]]
) -> dict[str, Difference | None]:
    return {question: paired(mine[question], first.get(question, {})) for question in mine}


def _mean(times: Iterable[float]) -> float:
    """Of those that are known; NaN if none is."""
    known = [time for time in times if not math.isnan(time)]
    return statistics.mean(known) if known else math.nan


def best_settings(found: Comparison) -> list[Row]:
    """Of the table ``search``: for each config the row with the highest mean of both questions."""
    best: dict[str | None, tuple[float, Row]] = {}
    for row in found.rows:
        value = statistics.mean(found.entries[row.name].top1[BOTH].values())
        if row.config not in best or value > best[row.config][0]:
            best[row.config] = value, row
    return [row for _, row in best.values()]
