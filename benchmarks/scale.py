"""How cost grows: with frames, tokens, batch and width; measured against counted exponents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.report import Report
from benchmarks.step import costs_of, make_stepper, settings_of
from benchmarks.timing import Series, side_by_side, timed
from benchmarks.workload import Workload, build_model, make_batch, mask_sizes
from nextvid_mm.progress import progress_bar

AXES: dict[str, tuple[Any, ...]] = dict(
    frames=(8, 16, 32, 64), pixels=(64, 128, 256), batch=(1, 2, 4), size=('tiny', 'base')
)


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the line through the logarithms: cost grows as size to this power."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def encoder_work(workload: Workload, masks: Sequence[tuple[int, int]]) -> float:
    """Operations of encoder (both strategies, forward and backward) and reference encoder."""
    costs = costs_of(workload, masks)
    return costs['reference'].forward + costs['encoder'].total


def encoder_run(workload: Workload, device: str = 'cpu') -> Callable[[], None]:
    """A function that runs the reference pass and both encoder passes, with backward."""
    model, batch = build_model(workload, device), make_batch(workload)
    data = model.data_preprocessor(batch, training=True)
    clip = data['inputs'].flatten(0, 1)
    grid, patches = model.backbone.grid_of(clip), model.backbone.patchify(clip)
    visible = [mask.visible for mask in data['data_samples'].masks]

    def run() -> None:
        model.reference(patches, grid)
        for index in visible:
            past = grid.with_tubelets(grid.tubelets - 1)
            model.backbone(patches, past, index)[-1].square().mean().backward()

    return run


def encoder_scaling(
    workload: Workload,
    frames: Sequence[int] = (16, 32, 64),
    repeats: int = 5,
    device: str = 'cpu',
    clock: str = 'wall',
) -> Report:
    """Cost of encoder and reference encoder against frames, measured and counted."""
    loads = [replace(workload, frames=count) for count in frames]
    runs = [encoder_run(load, device) for load in loads]
    named = {str(load.frames): run for load, run in zip(loads, runs, strict=True)}
    timings = list(side_by_side(named, repeats, 1, clock, 'encoder and reference').values())
    masks = mask_sizes(make_batch(replace(workload, batch=1, images=0)))
    work = [encoder_work(load, masks) for load in loads]
    report = Report(
        f'encoder and reference against frames, {workload.size}, {workload.pixels} px',
        settings_of(workload, repeats, device, clock) | dict(frames=list(frames)),
        ('frames', 'median s', '±', 'GFLOP', 'GFLOP/s'),
    )
    for load, series, flops in zip(loads, timings, work, strict=True):
        report.add(
            frames=load.frames,
            **series.row,
            **{'GFLOP': flops / 1e9, 'GFLOP/s': flops / series.median / 1e9},
        )
    measured = exponent(frames, [series.median for series in timings])
    counted = exponent(frames, work)
    report.settings |= dict(measured_exponent=measured, counted_exponent=counted)
    report.notes.append(
        f'cost grows as frames^{measured:.3f}; operations as frames^{counted:.3f} '
        f'({measured / counted - 1:+.1%})'
    )
    return report


def step_scaling(
    workload: Workload,
    axis: str,
    values: Sequence[Any] | None = None,
    repeats: int = 5,
    device: str = 'cpu',
    clock: str = 'wall',
) -> Report:
    """Cost of the whole step along one axis.

    Args:
        workload: the other settings.
        axis: ``frames``, ``pixels``, ``batch`` or ``size``.
        values: along the axis; None takes a few small ones.
        repeats: timed steps.
        device: where.
        clock: ``wall`` or ``cpu``.
    """
    if axis not in AXES:
        raise ValueError(f'axis={axis!r} is not one of {", ".join(AXES)}')
    values = AXES[axis] if values is None else values
    report = Report(
        f'whole step against {axis}',
        settings_of(workload, repeats, device, clock),
        (axis, 'median s', '±', 'GFLOP', 'GFLOP/s'),
    )
    times, work = [], []
    with progress_bar('sizes') as bar:
        for value in bar.track(values, description=f'steps along {axis}'):
            load = replace(workload, **{axis: value})
            stepper = make_stepper('ours', load, device)
            stepper.step()
            series = Series(tuple(timed(stepper.step, clock)[1] for _ in range(repeats)))
            flops = sum(cost.total for cost in costs_of(load, mask_sizes(stepper.batch)).values())
            times.append(series.median)
            work.append(flops)
            work_row = {'GFLOP': flops / 1e9, 'GFLOP/s': flops / series.median / 1e9}
            report.add(**{axis: value}, **series.row, **work_row)
    if axis != 'size':
        report.notes.append(
            f'cost grows as {axis}^{exponent(values, times):.3f}; '
            f'operations as {axis}^{exponent(values, work):.3f}'
        )
    return report
