"""Tables that are counted, not measured: operations per component, and what they would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.report import Report
from benchmarks.step import costs_of, work_of
from benchmarks.workload import Workload, base_config, make_batch, mask_sizes
from nextvid_mm.plan.flops import Cost
from nextvid_mm.registry import MODELS

COMPONENTS = ('target', 'reference', 'encoder', 'predictor', 'decoder', 'align')
# Dense bfloat16 matrix products of one H100 SXM, from NVIDIA's data sheet.
H100_PEAK = 989e12
PUBLISHED_HOURS, PUBLISHED_GPUS = 146, 96


def count_components(
    sizes: Sequence[str] = ('large', 'huge', 'giant'),
    frames: Sequence[int] = (16, 64),
    pixels: int = 256,
    target: str = 'vae',
    tau_samples: int = 1,
) -> Report:
    """GFLOP per clip of every component, forward and backward together."""
    report = Report(
        f'GFLOP per clip and step, {pixels} px, {target} target, {tau_samples} tau sample(s)',
        dict(pixels=pixels, target=target, tau_samples=tau_samples),
        ('encoder size', 'frames', *COMPONENTS, 'whole step'),
    )
    for size in sizes:
        for count in frames:
            costs = clip_costs(size, count, pixels, target, tau_samples)
            parts = {name: round(costs[name].total / 1e9) for name in COMPONENTS}
            whole = round(work_of('whole step', costs) / 1e9)
            report.add(**{'encoder size': size, 'frames': count, 'whole step': whole}, **parts)
    return report


def clip_costs(
    size: str, frames: int, pixels: int, target: str, tau_samples: int
) -> dict[str, Cost]:
    """Operations for one video clip by component."""
    load = Workload(size, frames, 1, pixels, target, tau_samples)
    return costs_of(load, mask_sizes(make_batch(replace(load, frames=2))))


def state_bytes(size: str) -> float:
    """Bytes of weights, gradients, optimiser moments and the reference encoder, all float32."""
    with torch.device('meta'):
        parts = {
            name: MODELS.build(part)
            for name, part in Workload(size, pixels=256, target='vae').config().items()
            if name in ('backbone', 'neck', 'head', 'align_head')
        }
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return 4.0 * (4 * sum(count.values()) + count['backbone'])


def published_run(size: str = 'giant', image_share: float = 0.25) -> Report:
    """Operations of the paper's four stages, and the efficiency its 146 hours would mean.

    Arithmetic, not a measurement.

    Args:
        size: of the encoder.
        image_share: of the mixture, whose autoencoder targets need one frame.
    """
    report = Report(
        f'the four published stages, {size}',
        dict(size=size, image_share=image_share, h100_peak=H100_PEAK),
        ('stage', 'frames', 'EFLOP', 'H100 hours at peak'),
    )
    total = 0.0
    for stage in base_config('schedules/paper_4stage').train_cfg.stages:
        frames = stage.num_frames
        costs = clip_costs(size, frames, 256, 'vae', stage.tau_samples)
        target = costs['target'].total
        static = target / (frames - 2)
        per_clip = work_of('whole step', costs) - image_share * (target - static)
        work = stage.steps * stage.batch_size * per_clip
        total += work
        hours = work / H100_PEAK / 3600
        report.add(
            stage=stage.name, frames=frames, EFLOP=work / 1e18, **{'H100 hours at peak': hours}
        )
    hours = total / H100_PEAK / 3600
    share = hours / (PUBLISHED_HOURS * PUBLISHED_GPUS)
    report.add(stage='all', EFLOP=total / 1e18, **{'H100 hours at peak': hours})
    report.notes.append(
        f'{PUBLISHED_HOURS} h on {PUBLISHED_GPUS} H100 are {PUBLISHED_HOURS * PUBLISHED_GPUS:,} '
        f'GPU hours: {share:.0%} of peak, if all of them were spent on these operations '
        '(arithmetic, not measured)'
    )
    return report
