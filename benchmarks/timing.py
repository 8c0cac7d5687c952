"""Repeated measurements, side by side in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch

from benchmarks.resident import make_room
from nextvid_mm.inferencers import cost
from nextvid_mm.progress import progress_bar

# What is read: time on the wall, or processor time of all threads of this process, which other
# programs on the machine disturb much less (compare with one thread).
CLOCKS = {'wall': time.perf_counter, 'cpu': time.process_time}
Result = TypeVar('Result')


@dataclass(frozen=True)
class Series:
    """Repeated measurements of one thing.

    Attributes:
        seconds: every one, in order.
    """

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median in seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the distance between quartiles over the median; 0 for a single measurement."""
        if len(self.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.seconds, n=4, method='inclusive')
        return (high - low) / 2 / self.median

    @property
    def row(self) -> dict[str, Any]:
        """Median, spread and every measurement, as a report shows them."""
        return {'median s': self.median, '±': f'{self.spread:.0%}', 'seconds': self.seconds}

    def __str__(self) -> str:
        return f'{1e3 * self.median:.4g} ms ±{self.spread:.0%}'


def ratio(slow: Series, fast: Series) -> Series:
    """How many times longer ``slow`` took, repeat by repeat: neighbours share conditions."""
    return Series(tuple(a / b for a, b in zip(slow.seconds, fast.seconds, strict=True)))


def side_by_side(
    functions: Mapping[str, Callable[[], Any]],
    repeats: int = 5,
    warmup: int = 1,
    clock: str = 'wall',
    label: str = 'measuring',
) -> dict[str, Series]:
    """Run functions in turn, ``repeats`` times over, and time each.

    Args:
        functions: what to run, by name.
        repeats: timed runs of each.
        warmup: runs of each before that.
        clock: ``wall`` or ``cpu``.
        label: shown beside the progress bar.

    Raises:
        ValueError: for an unknown clock or no repeats.
    """
    if clock not in CLOCKS:
        raise ValueError(f'clock={clock!r} is not one of {", ".join(CLOCKS)}')
    if repeats < 1:
        raise ValueError(f'repeats={repeats} must be at least 1')
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    with progress_bar('runs') as bar:
        task = bar.add_task(label, total=(warmup + repeats) * len(functions))
        for turn in range(warmup + repeats):
            for name, function in functions.items():
                make_room()
                _, spent = timed(function, clock)
                if turn >= warmup:
                    seconds[name].append(spent)
                bar.advance(task)
    return {name: Series(tuple(values)) for name, values in seconds.items()}


def timed(function: Callable[[], Result], clock: str = 'wall') -> tuple[Result, float]:
    """What a call returns and the seconds it takes by a clock, the device's work included."""
    return cost.timed(function, CLOCKS[clock])


def matmul_peak(
    device: str = 'cpu',
    dtype: torch.dtype = torch.float32,
    sides: Sequence[int] = (512, 1024, 2048, 3072),
    repeats: int = 10,
    clock: str = 'wall',
) -> float:
    """Best rate of a square matrix product, in FLOP/s: what efficiency is measured against.

    Args:
        device: where.
        dtype: of the factors.
        sides: sizes to try; which one is fastest depends on caches and threads.
        repeats: products of each size; the fastest single one counts.
        clock: ``wall`` or ``cpu``.
    """
    factors = {side: torch.randn(2, side, side, device=device).to(dtype) for side in sides}
    products = {str(side): partial(torch.matmul, *pair) for side, pair in factors.items()}
    series = side_by_side(products, repeats, 2, clock, 'matmul peak')
    return max(2.0 * side**3 / min(series[str(side)].seconds) for side in sides)
