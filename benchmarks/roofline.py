"""The shortest time that a device could take for a traced step: a bound, not a forecast.

An operator takes as long as its bytes at 85 % of the bandwidth, or its operations at 70 % of the
peak of matrix products (attention: 45 %), whichever is longer. What lies between operators (their
launch, the host, the loader, communication) and the optimiser are left out. A real step is slower.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.report import Report
from benchmarks.tracing import Counted, StepTracer, Work
from benchmarks.workload import Workload, make_batch, mask_sizes

MEMORY, PRODUCT, ATTENTION = 0.85, 0.70, 0.45
KINDS = ('memory', 'product', 'attention')


@dataclass(frozen=True)
class Device:
    """What a device can do at most.

    Attributes:
        name: of the device.
        bandwidth: bytes per second.
        half: operations per second of matrix products in bfloat16.
        single: in float32.
        shares: of bandwidth, products' peak and attention's that operators reach.
    """

    name: str
    bandwidth: float
    half: float
    single: float
    shares: tuple[float, float, float] = (MEMORY, PRODUCT, ATTENTION)

    def seconds(self, work: Work) -> float:
        """Shortest time of an operator."""
        peak = self.single if work.dtype.itemsize > 2 else self.half
        memory, product, attention = self.shares
        share = attention if work.kind == 'attention' else product
        return max(work.bytes / (memory * self.bandwidth), work.flops / (share * peak))


# From the makers' data sheets: dense, without sparsity; float32 as TF32.
DEVICES = dict(
    h100=Device('H100 SXM', 3.35e12, 989e12, 494e12),
    h200=Device('H200 SXM', 4.8e12, 989e12, 494e12),
    a100=Device('A100 SXM 80 GB', 2.04e12, 312e12, 156e12),
)


def bound(counted: Counted, device: Device) -> float:
    """Seconds of all operators."""
    return sum(times * device.seconds(work) for work, times in counted.items())


def trace(workload: Workload) -> tuple[Counted, Counted]:
    """Operators of a workload's step one by one, and joined as a compiler joins them."""
    masks = mask_sizes(make_batch(replace(workload, frames=2, batch=1, images=0)))
    config = workload.config()
    if workload.target == 'vae':
        config['target_generator']['dtype'] = 'bfloat16'  # whatever is fast on this machine
    tracer = StepTracer(config, masks)
    return tracer.count(workload.frames, workload.batch, workload.images)


def bounds(
    sizes: Sequence[str],
    frames: Sequence[int],
    workload: Workload,
    device: str = 'h100',
    top: int = 8,
) -> list[Report]:
    """Bounds of encoders and lengths of clips, and the biggest operators of the last one.

    Args:
        sizes: of the encoder.
        frames: video frames per clip.
        workload: everything else.
        device: one of ``DEVICES``.
        top: operators to show.
    """
    machine = DEVICES[device]
    report = Report(
        f'roofline of a step on one {machine.name}, ms per clip: a lower bound, not measured',
        vars(workload) | dict(device=device),
        ('encoder size', 'frames', 'tau', 'all', *KINDS, 'target', 'compiled', 'and images'),
    )
    for size in sizes:
        for count in frames:
            load = replace(workload, size=size, frames=count, images=0)
            eager, fused = trace(load)
            row = {'encoder size': size, 'frames': count, 'tau': load.tau_samples}
            row |= {'all': _ms(eager, machine, load), 'compiled': _ms(fused, machine, load)}
            for kind in KINDS:
                own = Counter({w: n for w, n in eager.items() if w.kind == kind})
                row[kind] = _ms(own, machine, load)
            target = Counter({w: n for w, n in eager.items() if w.part == 'target'})
            row['target'] = _ms(target, machine, load)
            if workload.images:
                joined = Counter({w: n for w, n in fused.items() if w.part == 'target'})
                saved = _ms(joined, machine, load) * workload.images / workload.batch
                row['and images'] = row['compiled'] - saved * (1 - 1 / (count - 2))
            report.add(**row)
    report.notes += [
        f'bytes at {MEMORY:.0%} of {machine.bandwidth / 1e12:.3g} TB/s, products at {PRODUCT:.0%} '
        f'and attention at {ATTENTION:.0%} of {machine.half / 1e12:.0f} TFLOP/s in bfloat16; no '
        'launch, host, loader, communication or optimiser: a real step is slower',
        'compiled: neighbouring element-wise operators and norms are one; and images: '
        f'{workload.images} of {workload.batch} clips are static',
    ]
    return [report, biggest(eager, load, machine, top)]


def biggest(counted: Counted, workload: Workload, device: Device, top: int) -> Report:
    """The operators that take most of a step."""
    report = Report(
        f'biggest operators, {workload.size}, {workload.frames} frames, ms per clip',
        vars(workload),
        ('part', 'operator', 'type', 'ms', 'GB', 'GFLOP', 'times'),
    )
    rows: dict[tuple[str, str, str], list[float]] = {}
    for work, times in counted.items():
        key = (work.part, work.name, str(work.dtype).removeprefix('torch.'))
        row = rows.setdefault(key, [0.0, 0.0, 0.0, 0.0])
        values = (1e3 * device.seconds(work), work.bytes / 1e9, work.flops / 1e9)
        for place, value in enumerate(values):
            row[place] += times * value / workload.batch
        row[3] += times
    for (part, name, kind), row in sorted(rows.items(), key=lambda item: -item[1][0])[:top]:
        values = dict(zip(('ms', 'GB', 'GFLOP', 'times'), row, strict=True))
        report.add(part=part, operator=name, type=kind, **values)
    return report


def _ms(counted: Counted, device: Device, workload: Workload) -> float:
    return round(1e3 * bound(counted, device) / workload.batch, 4)
