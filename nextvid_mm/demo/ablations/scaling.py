"""What another doubling of clips or width brings, fitted over a table of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextvid_mm.demo.ablations.results import QUESTIONS, RunResult
from nextvid_mm.evaluation.intervals import student_quantile
from nextvid_mm.files import save_picture

_WIDTH = re.compile(r'width-(\d+)_')
LOSS = 'loss_flow'


@dataclass(frozen=True)
class Fit:
    """``value = level + clips * log2(clips) + width * log2(width)``, by least squares.

    Attributes:
        of: what is fitted, ``how``, ``what`` or the loss.
        level: its constant part.
        clips: change with a doubling of clips, and half its 95 % interval.
        width: change with a doubling of the encoder's width, likewise.
        points: runs that were fitted.
    """

    of: str
    level: float
    clips: tuple[float, float]
    width: tuple[float, float]
    points: int

    def __str__(self) -> str:
        shown = '.4f' if self.of == LOSS else '.1f'
        parts = (
            f'{value:+{shown}} ± {half:{shown}} with twice the {name}'
            for name, (value, half) in (('clips', self.clips), ('width', self.width))
        )
        return f'{self.of}: {", ".join(parts)} ({self.points} runs)'


def width_of(result: RunResult) -> int | None:
    """Width of a row of the table ``scaling``; None of any other."""
    found = _WIDTH.search(result.row)
    return int(found[1]) if found else None


def fit_scaling(results: Sequence[RunResult]) -> list[Fit]:
    """Fit both accuracies and the loss of generation.

    Raises:
        ValueError: with too few runs to tell clips from width.
    """
    runs = [run for run in results if width_of(run)]
    design = np.array(
        [[1.0, np.log2(run.last.clips), np.log2(width_of(run) or 1)] for run in runs]
    ).reshape(-1, 3)
    free = len(runs) - 3
    if free < 1 or np.linalg.matrix_rank(design) < 3:
        raise ValueError(
            f'{len(runs)} runs of the table scaling are too few: at least four, of two widths and '
            'two lengths'
        )
    fits = []
    for name in (*QUESTIONS, LOSS):
        values = np.array(
            [run.last.losses[LOSS] if name == LOSS else run.last.top1[name] for run in runs]
        )
        found = np.linalg.lstsq(design, values, rcond=None)[0]
        variance = ((values - design @ found) ** 2).sum() / free
        errors = np.sqrt(variance * np.diag(np.linalg.inv(design.T @ design)))
        halves = student_quantile(free) * errors
        clips, width = ((float(found[i]), float(halves[i])) for i in (1, 2))
        fits.append(Fit(name, float(found[0]), clips, width, len(runs)))
    return fits


def draw_scaling(results: Sequence[RunResult], fits: Sequence[Fit], path: Path) -> Path:
    """Write loss and accuracies against clips, a colour a width, with the fitted lines."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout='constrained')
    widths = sorted({width for run in results if (width := width_of(run))})
    colours = colormaps['viridis'](np.linspace(0, 0.9, len(widths)))
    for axis, fit in zip(figure.subplots(1, len(fits)), fits, strict=True):
        for width, colour in zip(widths, colours, strict=True):
            runs = [run for run in results if width_of(run) == width]
            clips = np.array(sorted({run.last.clips for run in runs}))
            values = [
                run.last.losses[LOSS] if fit.of == LOSS else run.last.top1[fit.of] for run in runs
            ]
            axis.plot([run.last.clips for run in runs], values, 'o', color=colour)
            line = fit.level + fit.clips[0] * np.log2(clips) + fit.width[0] * np.log2(width)
            axis.plot(clips, line, color=colour, label=f'width {width}')
        axis.set(xscale='log', xlabel='clips', title=fit.of)
    figure.axes[0].legend()
    save_picture(figure, path, dpi=120)
    return path
