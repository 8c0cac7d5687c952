"""What one run leaves: one small JSON file, with a curve of moments."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nextvid_mm.demo.ablations.tables import Row
from nextvid_mm.files import write_text

HOW, WHAT = 'how', 'what'
QUESTIONS = (HOW, WHAT)
#: Fields of :class:`Moment` with an accuracy for each question, and what they are called.
PROBES = {'top1': 'attentive probe', 'knn': 'nearest neighbours of mean tokens'}
#: Features of an effective rank below this have collapsed.
COLLAPSED_RANK = 2.0


@dataclass(frozen=True)
class Budget:
    """What every row is given.

    Attributes:
        steps_scale: factor on the steps of every stage of the demo's schedule.
        options: overrides of all pretraining configs, by dotted key.
        probe_options: overrides of both probe configs.
    """

    steps_scale: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    probe_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.steps_scale > 0:
            raise ValueError(f'steps_scale={self.steps_scale} must be larger than 0')


@dataclass(frozen=True)
class Moment:
    """A run's trained encoder after some steps.

    Attributes:
        step: optimiser steps until here.
        clips: clips until here.
        cpu_seconds: processor time of training until here, loading included.
        seconds: by the clock, with whatever ran beside it.
        losses: means over the last steps, by name.
        knn: k-nearest-neighbour top-1, %, by question.
        top1: best attentive probe of the grid, %, by question.
        rank: effective rank of the tokens of validation videos.
        std: their standard deviation.
    """

    step: int
    clips: int
    cpu_seconds: float
    seconds: float
    losses: dict[str, float]
    knn: dict[str, float]
    top1: dict[str, float]
    rank: float
    std: float


@dataclass(frozen=True)
class RunResult:
    """What one row gave with one seed.

    Attributes:
        row: name of the row.
        setting: the row's config and overrides when it was run.
        seed: of pretraining, untrained weights and probes.
        budget: that of the comparison.
        moments: in order of steps, the last at the end of the run.
        machine: processor, threads, versions.
    """

    row: str
    setting: dict[str, Any]
    seed: int
    budget: dict[str, Any]
    moments: list[Moment]
    machine: dict[str, Any]

    @property
    def last(self) -> Moment:
        """The end of the run."""
        return self.moments[-1]

    @property
    def collapsed(self) -> bool:
        """Whether the features at the end lie on a line, or are no numbers."""
        return not self.last.rank >= COLLAPSED_RANK

    def at_seconds(self, seconds: float, question: str, probe: str = 'top1') -> float:
        """Top-1 of ``probe`` after some processor time, between moments on a straight line.

        Before the first moment, and where times are not known, nothing is known of it (NaN); after
        the end it is that of the end. Infinite seconds mean the end, always.
        """
        if math.isinf(seconds):
            return getattr(self.last, probe)[question]
        times = [moment.cpu_seconds for moment in self.moments]
        values = [getattr(moment, probe)[question] for moment in self.moments]
        return float(np.interp(seconds, times, values, left=math.nan))


def result_file(folder: Path, row: str, seed: int) -> Path:
    """Where the result of a run lies."""
    return folder / f'{row}_seed_{seed}.json'


def write_result(path: Path, result: RunResult) -> None:
    """Write a result, whole or not at all: the file says that the run is done."""
    write_text(path, json.dumps(_rounded(asdict(result)), indent=1) + '\n')


def read_result(path: Path) -> RunResult:
    """Read a result.

    Raises:
        ValueError: if the file is something else.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
        moments = [Moment(**moment) for moment in record.pop('moments')]
        return RunResult(**record, moments=moments)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} is no result of run_ablations ({error}): remove it, and its run is repeated'
        ) from error


def read_folder(
    folder: Path, rows: Sequence[Row], seeds: Iterable[int], budget: Budget
) -> list[RunResult]:
    """Results of some rows that are there, seed by seed.

    Raises:
        ValueError: as :func:`check_folder`.
    """
    check_folder(folder, rows, budget)
    files = [result_file(folder, row.name, seed) for seed in seeds for row in rows]
    return [read_result(path) for path in files if path.is_file()]


def check_folder(folder: Path, rows: Sequence[Row], budget: Budget) -> None:
    """Refuse a folder with runs of another budget, or of one of these rows as it was once.

    Raises:
        ValueError: naming the first such file; a budget counts in files of whatever row.
    """
    asked = json.loads(json.dumps(asdict(budget)))
    settings = {row.name: json.loads(json.dumps(row.setting)) for row in rows}
    for path in sorted(folder.glob('*_seed_*.json')):
        found = read_result(path)
        if found.budget != asked:
            raise ValueError(
                f'{path} is a run of another budget, {found.budget}, asked for is {asked}: rows '
                'must be given the same; use another --results'
            )
        if found.setting != settings.get(found.row, found.setting):
            raise ValueError(
                f'{path} is a run of another setting, {found.setting}, {found.row} is '
                f'{settings[found.row]} now: remove the file, and its run is repeated, or use '
                'another --results'
            )


def _rounded(value: Any) -> Any:
    """Numbers as long as they mean something, so that files stay small."""
    if isinstance(value, float):
        return float(f'{value:.6g}')
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else value
