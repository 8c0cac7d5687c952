"""The whole pretraining step: ours against the plain baseline, and where its time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.baseline import DenseBaseline, update_reference
from benchmarks.report import Report
from benchmarks.timing import Series, matmul_peak, ratio, side_by_side, timed
from benchmarks.workload import (
    Workload,
    base_config,
    build_model,
    build_optimizer,
    make_batch,
    mask_sizes,
    precision,
)
from nextvid_mm.engine.allocator import keep_freed_memory
from nextvid_mm.engine.optim import AutocastOptimWrapper
from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.algorithms import NextVid
from nextvid_mm.plan.flops import Cost, step_cost
from nextvid_mm.progress import progress_bar

MOMENTUM = base_config('schedules/paper_4stage').train_cfg.stages[0].ema_momentum
# Rows of the component table: what is timed (attributes from the stepper on) and its name.
PARTS = {
    'normalise': ('model', 'data_preprocessor.forward'),
    'target': ('model', 'target_generator.forward'),
    'reference': ('model', 'reference.forward'),
    'encoder': ('model', 'backbone.forward'),
    'predictor': ('model', 'neck.forward'),
    'decoder': ('model', 'head.forward'),
    'align': ('model', 'align_head.forward'),
    'backward': ('optimizer', 'backward'),
    'optimiser': ('optimizer', 'step'),
    'EMA': ('model', 'reference.update'),
}


class Stepper:
    """Runs optimiser steps on one batch.

    Args:
        model: a ``NextVid``.
        batch: as the loader delivers it.
        dtype: autocast type by name; None for float32.
    """

    fused = True

    def __init__(self, model: NextVid, batch: dict[str, Any], dtype: str | None = None):
        self.model, self.batch = model, batch
        keep_freed_memory()  # as the training loop does
        self.optimizer: AutocastOptimWrapper = build_optimizer(model, dtype, self.fused)

    def losses(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Named losses."""
        return self.model(clip[:, None], batch, mode='loss')

    def update_reference(self) -> None:
        """Move the reference encoder."""
        self.model.reference.update(self.model.backbone, MOMENTUM)

    def step(self) -> dict[str, float]:
        """One step; returns its losses."""
        data = self.model.data_preprocessor(self.batch, training=True)
        with self.optimizer.optim_context(self.model):
            losses = self.losses(data['inputs'].flatten(0, 1), data['data_samples'])
            loss = sum(losses.values(), start=torch.zeros(()).to(data['inputs'].device))
        self.optimizer.update_params(loss)
        self.update_reference()
        return {name: float(value.detach()) for name, value in losses.items()}


class BaselineStepper(Stepper):
    """The same step by ``DenseBaseline``, PyTorch's default optimiser and a loop for the average.

    Args:
        model: a ``NextVid`` whose weights are used.
        batch: as the loader delivers it.
        dtype: autocast type by name; None for float32.
        decoder: ``dense`` or ``folded``, see ``DenseBaseline``.
    """

    fused = False

    def __init__(
        self,
        model: NextVid,
        batch: dict[str, Any],
        dtype: str | None = None,
        decoder: str = 'dense',
    ):
        super().__init__(model, batch, dtype)
        self.baseline = DenseBaseline(model, decoder)

    def losses(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """Named losses."""
        return self.baseline.loss(clip, batch)

    def update_reference(self) -> None:
        """Move the reference encoder."""
        update_reference(self.model, MOMENTUM)


def make_stepper(kind: str, workload: Workload, device: str = 'cpu') -> Stepper:
    """A stepper with a model of its own.

    Args:
        kind: ``ours``, ``dense`` or ``folded``; the last two are baselines.
        workload: what to train.
        device: where.
    """
    model, batch = build_model(workload, device), make_batch(workload)
    if kind == 'ours':
        return Stepper(model, batch, precision(device))
    return BaselineStepper(model, batch, precision(device), decoder=kind)


def compare_steps(
    workload: Workload,
    repeats: int = 5,
    warmup: int = 1,
    device: str = 'cpu',
    clock: str = 'wall',
    baselines: tuple[str, ...] = ('dense', 'folded'),
) -> Report:
    """Time ours and the baselines in turn and compare their first losses."""
    kinds = ('ours', *baselines)
    plain = replace(workload, with_cp=False)  # the baseline has no such option
    steppers = {k: make_stepper(k, workload if k == 'ours' else plain, device) for k in kinds}
    first = {kind: stepper.step() for kind, stepper in steppers.items()}
    series = side_by_side(
        {kind: stepper.step for kind, stepper in steppers.items()},
        repeats,
        max(0, warmup - 1),
        clock,
        f'steps of {workload.size}',
    )
    report = Report(
        f'pretraining step, {describe(workload)}',
        settings_of(workload, repeats, device, clock),
        ('step', 'median s', '±', 'times ours', 'largest difference of losses'),
    )
    for kind, values in series.items():
        relative = ratio(values, series['ours'])
        gap = max(abs(first[kind][name] - value) for name, value in first['ours'].items())
        report.add(
            step=kind if kind == 'ours' else f'baseline, {kind} decoder masks',
            **values.row,
            **{'times ours': relative.median, 'largest difference of losses': gap},
            ratios=relative.seconds,
        )
    return report


def component_table(
    workload: Workload,
    repeats: int = 5,
    warmup: int = 1,
    device: str = 'cpu',
    clock: str = 'wall',
) -> Report:
    """Where the time of a step goes, against the matrix products it needs."""
    stepper = make_stepper('ours', workload, device)
    dtype = getattr(torch, precision(device) or 'float32')
    peak = matmul_peak(device, dtype, clock=clock)
    steps: list[dict[str, float]] = []
    with progress_bar('steps') as bar, stopwatch(stepper, clock) as spent:
        for turn in bar.track(range(warmup + repeats), description='training'):
            spent.clear()
            _, spent['whole step'] = timed(stepper.step, clock)
            if turn >= warmup:
                steps.append(dict(spent))
    peak = max(peak, matmul_peak(device, dtype, clock=clock))  # processors change their speed
    costs = costs_of(workload, mask_sizes(stepper.batch))
    report = Report(
        f'where a step goes, {describe(workload)}',
        settings_of(workload, repeats, device, clock) | dict(matmul_peak_flops=peak),
        ('part', 'median s', '±', 'share', 'GFLOP', 'of matmul peak'),
    )
    whole = Series(tuple(step['whole step'] for step in steps)).median
    for name in (*PARTS, 'whole step'):
        values = Series(tuple(step.get(name, 0.0) for step in steps))
        work = work_of(name, costs)
        row = {'part': name, 'median s': values.median, 'seconds': values.seconds}
        row |= {'±': f'{values.spread:.0%}' if values.median else ''}
        row |= {'share': f'{values.median / whole:.0%}'}
        if work:
            row |= {'GFLOP': work / 1e9}
            row |= {'of matmul peak': f'{work / values.median / peak:.0%}'}
        report.add(**row)
    report.notes.append(
        f'matmul peak: {peak / 1e9:.4g} GFLOP/s in {dtype}; GFLOP counts useful work only'
    )
    return report


def costs_of(workload: Workload, masks: Sequence[tuple[int, int]]) -> dict[str, Cost]:
    """Operations of the workload's step by component, with masks of these sizes."""
    return step_cost(
        workload.config(),
        workload.batch,
        workload.frames,
        workload.pixels,
        masks,
        workload.tau_samples,
        workload.images / workload.batch,
    )


def work_of(part: str, costs: dict[str, Cost]) -> float:
    """Operations behind a row of the component table."""
    if part == 'whole step':
        return sum(cost.total for cost in costs.values())
    if part == 'backward':
        return sum(cost.backward for cost in costs.values())
    return costs[part].forward if part in costs else 0.0


@contextmanager
def stopwatch(stepper: Stepper, clock: str) -> Iterator[dict[str, float]]:
    """Add up the seconds spent in each part of a step, by wrapping its methods."""
    spent: dict[str, float] = {}
    wrapped: list[tuple[Any, str]] = []
    for label, (root, path) in PARTS.items():
        *parents, method = path.split('.')
        owner = getattr(stepper, root)
        for name in parents:
            owner = getattr(owner, name)
        owner.__dict__[method] = _timed_method(getattr(owner, method), label, spent, clock)
        wrapped.append((owner, method))
    try:
        yield spent
    finally:
        for owner, method in wrapped:
            del owner.__dict__[method]


def _timed_method(
    method: Callable[..., Any], label: str, spent: dict[str, float], clock: str
) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        result, seconds = timed(lambda: method(*args, **kwargs), clock)
        spent[label] = spent.get(label, 0.0) + seconds
        return result

    return run


def describe(workload: Workload) -> str:
    """One line about a workload."""
    return (
        f'{workload.size}, {workload.batch} clips x {workload.frames} frames x '
        f'{workload.pixels} px, {workload.target} target'
    )


def settings_of(workload: Workload, repeats: int, device: str, clock: str) -> dict[str, Any]:
    """What a report says about how it was made."""
    return vars(workload) | dict(
        repeats=repeats, device=device, clock=clock, dtype=precision(device) or 'float32'
    )
