"""The bound's way of counting, held against this CPU: does it predict a step that was run?

For a GPU, the data sheet gives bandwidth and peaks. A CPU's depend on what is done and on whether
it fits a cache, so that a short measurement takes them at several sizes: additions, activation
functions, norms, products in both types, attention forwards and backwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch.nn import functional as F

from benchmarks.report import Report, processor_name
from benchmarks.roofline import Device, bound
from benchmarks.step import Stepper, make_stepper
from benchmarks.timing import side_by_side, timed
from benchmarks.tracing import StepTracer, Work
from benchmarks.workload import Workload, mask_sizes, precision
from nextvid_mm.layers.precision import DTYPES

HALF, SINGLE = torch.bfloat16, torch.float32
# What takes a function instead of an addition for each number.
FUNCTIONS = {'gelu', 'gelu_backward', 'silu', 'silu_backward', 'exp', 'cos', 'sin', 'sigmoid'}
NORMS = {'native_layer_norm', 'native_layer_norm_backward', 'native_group_norm'}
Points = list[tuple[float, float]]
"""Sizes with seconds, growing."""


def between(points: Points, size: float) -> float:
    """Seconds of a size, by powers between its neighbours; beyond the ends in proportion."""
    (first, least), (last, most) = points[0], points[-1]
    if size <= first:
        return least  # what a call takes at least
    if size >= last:
        return most * size / last
    right = next(n for n, (known, _) in enumerate(points) if known >= size)
    (a, seconds_a), (b, seconds_b) = points[right - 1], points[right]
    share = math.log(size / a) / math.log(b / a)
    return seconds_a ** (1 - share) * seconds_b**share


@dataclass(frozen=True)
class Probed(Device):
    """A CPU by measurement.

    Attributes:
        points: seconds by bytes or operations, for each kind of work.
    """

    points: Mapping[str, Points] = field(default_factory=dict)

    def seconds(self, work: Work) -> float:
        """Time of an operator."""
        half = work.dtype.itemsize == 2
        if work.kind == 'memory':
            kind = 'function' if work.name in FUNCTIONS else 'norm'
            kind = kind if work.name in FUNCTIONS | NORMS else 'memory'
            return between(
                self.points[kind + ('16' if half and kind == 'function' else '')], work.bytes
            )
        kind = 'product'
        if work.kind == 'attention':
            kind = 'back' if 'backward' in work.name else 'attention'
        return between(self.points[kind + ('16' if half else '32')], work.flops)


def probe(repeats: int = 3, largest: int = 24, clock: str = 'wall') -> Probed:
    """Measure this CPU: some seconds.

    Args:
        repeats: runs of every size; the fastest counts.
        largest: power of two of numbers in the largest tensor.
        clock: ``wall`` or ``cpu``.
    """
    found: dict[str, Points] = {}

    def take(name: str, size: float, work: Callable[[], object]) -> None:
        work()
        # A call of microseconds is too short for a clock.
        times = max(1, min(200, int(2e-3 / max(1e-6, timed(work, clock)[1]))))
        runs = [
            timed(lambda: [work() for _ in range(times)], clock)[1] / times for _ in range(repeats)
        ]
        found.setdefault(name, []).append((size, min(runs)))

    for power in range(8, largest + 1, 2):
        x = torch.randn(1 << power).view(-1, 256)
        y, half = x.clone(), x.to(HALF)
        weight = torch.ones(256)
        take('memory', 3 * x.nbytes, lambda x=x, y=y: x + y)
        take('function', 2 * x.nbytes, lambda x=x: F.gelu(x))
        take('function16', 2 * half.nbytes, lambda half=half: F.gelu(half))
        take('norm', 2 * x.nbytes, lambda x=x, w=weight: F.layer_norm(x, (256,), w, w))
    for name, dtype in (('16', HALF), ('32', SINGLE)):
        for side in (16, 64, 128, 256, 512, 1024):
            a, b = torch.randn(2, side, side).to(dtype)
            take('product' + name, 2.0 * side**3, lambda a=a, b=b: a @ b)
        for tokens in (16, 64, 256, 1024):
            q, k, v = (torch.randn(4, 4, tokens, 64).to(dtype).requires_grad_() for _ in range(3))
            out = F.scaled_dot_product_attention(q, k, v)
            pairs = 16 * tokens**2 * 64
            grad = torch.ones_like(out)
            take(
                'attention' + name,
                4.0 * pairs,
                lambda q=q, k=k, v=v: F.scaled_dot_product_attention(q, k, v),
            )
            take(
                'back' + name,
                10.0 * pairs,
                lambda out=out, grad=grad, leaves=(q, k, v): torch.autograd.grad(
                    out, leaves, grad, retain_graph=True
                ),
            )
    (size, seconds), peaks = found['memory'][-1], [found[f'product{n}'][-1] for n in ('16', '32')]
    half_peak, single = (size / seconds for size, seconds in peaks)
    return Probed(processor_name(), size / seconds, half_peak, single, points=found)


def compare_here(
    loads: Sequence[Workload], repeats: int = 5, clock: str = 'wall', device: Probed | None = None
) -> Report:
    """Losses and gradients on this CPU: predicted operator by operator, and measured.

    Args:
        loads: the steps.
        repeats: timed runs of each.
        clock: ``wall`` or ``cpu``.
        device: as `probe` has found it.
    """
    device = device or probe(clock=clock)
    report = Report(
        f'losses and gradients on {device.name}, predicted and measured',
        dict(threads=torch.get_num_threads(), repeats=repeats, dtype=precision('cpu')),
        ('encoder', 'frames', 'clips', 'predicted s', 'measured s', '±', 'predicted / measured'),
    )
    for load in loads:
        stepper = make_stepper('ours', load)
        tracer = StepTracer(
            load.config(), mask_sizes(stepper.batch), DTYPES[precision('cpu')], like_cuda=False
        )
        predicted = bound(tracer.count(load.frames, load.batch, load.images)[0], device)
        work = partial(_losses_and_gradients, stepper)
        series = side_by_side({'step': work}, repeats, 1, clock, load.size)['step']
        share = predicted / series.median
        row = dict(encoder=load.size, frames=load.frames, clips=load.batch)
        row |= {'predicted s': predicted, 'measured s': series.median}
        row |= {'±': f'{series.spread:.0%}', 'predicted / measured': share}
        report.add(**row, seconds=series.seconds)
    report.notes.append(
        f'{device.bandwidth / 1e9:.3g} GB/s of memory; products of 1,024 squared: '
        f'{device.half / 1e9:.4g} GFLOP/s in bfloat16, {device.single / 1e9:.4g} in float32; '
        'others by their size'
    )
    return report


def _losses_and_gradients(stepper: Stepper) -> None:
    data = stepper.model.data_preprocessor(stepper.batch, training=True)
    with stepper.optimizer.optim_context(stepper.model):
        losses = stepper.losses(data['inputs'].flatten(0, 1), data['data_samples'])
        sum(losses.values(), start=torch.zeros(())).backward()
    stepper.model.zero_grad(set_to_none=True)
