"""What a rollout costs with the cache of past frames, and with encoding them again."""

from __future__ import annotations

import torch

from benchmarks.report import Report
from benchmarks.step import describe, settings_of
from benchmarks.timing import ratio, side_by_side
from benchmarks.workload import Workload, build_model
from nextvid_mm.inferencers.rollout import rollout_ways


def compare_rollout(
    workload: Workload,
    tubelets: int = 16,
    num_steps: int = 20,
    repeats: int = 5,
    device: str = 'cpu',
    clock: str = 'wall',
) -> Report:
    """Time whole rollouts, and encoder and predictor alone, with and without the cache.

    Solving for the next frame costs the same in both ways. The larger the encoder beside the
    decoder, and the fewer the solver's steps, the less of the whole it is.

    Args:
        workload: model and seed clips.
        tubelets: to generate.
        num_steps: solver steps per tubelet.
        repeats: timed runs of each.
        device: where.
        clock: ``wall`` or ``cpu``.
    """
    model = build_model(workload, device).eval()
    shape = (workload.batch, 3, workload.frames, workload.pixels, workload.pixels)
    clip = torch.rand(shape, device=device) * 2 - 1
    ways = rollout_ways(model, clip, tubelets, range(workload.batch), num_steps)
    series = side_by_side(ways, repeats, 1, clock, 'rollouts')
    report = Report(
        f'rollout of {tubelets} tubelets, {num_steps} solver steps, {describe(workload)}',
        settings_of(workload, repeats, device, clock) | dict(tubelets=tubelets, steps=num_steps),
        ('what', 'median s', '±', 'times the cache'),
    )
    for name, values in series.items():
        times = ratio(values, series[f'{name.split(",")[0]}, cache'])
        report.add(what=name, **values.row, **{'times the cache': times.median})
    return report
