"""A forecast for this CPU: every operator of a traced step is called alone, then the step is run.

The trace says which operators run, on which shapes, strides and types, and how often. Each distinct
call is made on real tensors and timed; times how often it occurs, and added up, that is the
forecast. Inputs come from memory, not from the cache, and outputs go to memory of their own.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_unflatten

from benchmarks.report import Report, processor_name
from benchmarks.step import Stepper, make_stepper
from benchmarks.timing import side_by_side, timed
from benchmarks.tracing import Argument, Ran, StepTracer
from benchmarks.workload import Workload, mask_sizes, precision
from nextvid_mm.layers.precision import DTYPES
from nextvid_mm.progress import track

# Bytes that tensors of a type are cut from: several times a processor's last cache.
STORE = 1 << 27
# A measurement is this long, or one call, and this many calls at most: what they return is kept
# meanwhile.
SECONDS, CALLS = 2e-3, 64


class Store:
    """Numbers in memory: a tensor taken lies behind the last one, so that no cache has it.

    Args:
        size: bytes of each type; more if a tensor needs more.
    """

    def __init__(self, size: int = STORE) -> None:
        self.size = size
        self.buffers: dict[torch.dtype, Tensor] = {}
        self.ends: dict[torch.dtype, int] = {}
        self.numbers = torch.rand(1 << 16) + 0.5

    def take(self, like: Argument, limit: int) -> Tensor:
        """A tensor of the argument's shape, strides and type.

        Args:
            like: what the operator was called with.
            limit: integers are below it.
        """
        steps = zip(like.shape, like.strides, strict=True)
        span = 1 + sum((n - 1) * step for n, step in steps) if like.shape.numel() else 0
        if not like.dtype.is_floating_point:
            drawn = torch.randint(max(1, limit), (span,)).to(like.dtype)
            return drawn.as_strided(like.shape, like.strides)
        buffer = self.buffers.get(like.dtype)
        if buffer is None or len(buffer) < span:
            count = max(span, self.size // like.dtype.itemsize)
            buffer = self.numbers.to(like.dtype).repeat(-(-count // len(self.numbers)))
            self.buffers[like.dtype] = buffer
        start = self.ends.get(like.dtype, 0)
        start = start if start + span <= len(buffer) else 0
        self.ends[like.dtype] = start + -(-span // 64) * 64  # begins with a line of the cache
        return buffer.as_strided(like.shape, like.strides, start)

    def renew(self) -> None:
        """Give all numbers their first values, after an operator that changes its inputs."""
        for buffer in self.buffers.values():
            buffer.view(-1, len(self.numbers)).copy_(self.numbers)


def prepare(ran: Ran, store: Store) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Arguments for calling an operator again.

    Integers are indices along the first dimension of the first tensor, as everywhere in this model.
    """
    tensors: dict[int, Tensor] = {}
    values: list[Any] = []
    for value in _mended(ran):
        if isinstance(value, Argument):
            if value.number not in tensors:
                first = tensors[0].shape if tensors else value.shape
                tensors[value.number] = store.take(value, first[0] if first else 1)
            value = tensors[value.number]
        values.append(value)
    args, kwargs = tree_unflatten(values, ran.structure)
    return args, kwargs


def _mended(ran: Ran) -> Sequence[Any]:
    """Arguments as the CPU has them: norms keep mean and deviation in the type of their weights.

    PyTorch's fake tensors say that they have the input's.
    """
    if ran.operator is not torch.ops.aten.native_layer_norm_backward.default:
        return ran.arguments
    types = {x.number: x.dtype for x in ran.arguments if isinstance(x, Argument)}
    return [
        x._replace(dtype=types.get(4, x.dtype))
        if isinstance(x, Argument) and x.number in (2, 3)
        else x
        for x in ran.arguments
    ]


def alone(ran: Ran, store: Store, repeats: int = 5, clock: str = 'wall') -> float:
    """Seconds that a call takes by itself: the median of ``repeats`` measurements."""

    def measure(times: int) -> float:
        prepared = [prepare(ran, store) for _ in range(times)]

        def call() -> None:
            _ = [ran.operator(*args, **kwargs) for args, kwargs in prepared]

        return timed(call, clock)[1] / times

    measure(1)
    times = max(1, min(CALLS, int(SECONDS / max(1e-7, measure(1)))))
    seconds = statistics.median(measure(times) for _ in range(repeats))
    if ran.operator._schema.is_mutable:
        store.renew()
    return seconds


@torch.no_grad()
def forecast(counted: Counter[Ran], clock: str = 'wall', repeats: int = 5) -> float:
    """Seconds of calls, each as long as it takes alone."""
    store = Store()
    calls = track(counted.items(), 'operators', 'calls', len(counted))
    return sum(times * alone(ran, store, repeats, clock) for ran, times in calls)


def compare_here(loads: Sequence[Workload], repeats: int = 5, clock: str = 'wall') -> Report:
    """Losses and gradients on this CPU: predicted operator by operator, and measured.

    Args:
        loads: the steps.
        repeats: timed runs of each.
        clock: ``wall`` or ``cpu``.
    """
    report = Report(
        f'losses and gradients on {processor_name()}, predicted and measured',
        dict(threads=torch.get_num_threads(), repeats=repeats, clock=clock)
        | dict(dtype=precision('cpu')),
        ('encoder', 'frames', 'clips', 'predicted s', 'measured s', '±', 'predicted / measured'),
    )
    for load in loads:
        stepper = make_stepper('ours', load)
        counted = calls_of(load, stepper)
        predicted = forecast(counted, clock, repeats)
        data = stepper.model.data_preprocessor(stepper.batch, training=True)
        work = partial(losses_and_gradients, stepper, data)
        series = side_by_side({'step': work}, repeats, 1, clock, load.size)['step']
        row = dict(encoder=load.size, frames=load.frames, clips=load.batch)
        row |= dict(calls=sum(counted.values()), distinct=len(counted))
        row |= {'predicted s': predicted, 'measured s': series.median}
        row |= {'±': f'{series.spread:.0%}', 'predicted / measured': predicted / series.median}
        report.add(**row, seconds=series.seconds)
    report.notes.append(
        'predicted: every distinct call of the traced step alone, inputs not in the cache, times '
        'how often it occurs; what lies between operators (modules, autograd, Python) is left out'
    )
    return report


def calls_of(load: Workload, stepper: Stepper) -> Counter[Ran]:
    """How often each call occurs in the losses and gradients of a step; traced, not run."""
    dtype = DTYPES[precision('cpu')]
    tracer = StepTracer(load.config(), mask_sizes(stepper.batch), dtype, like_cuda=False)
    return tracer.ran(load.frames, load.batch, load.images)


def losses_and_gradients(stepper: Stepper, data: Mapping[str, Any]) -> None:
    """Compute them for a batch on the device, and forget them."""
    with stepper.optimizer.optim_context(stepper.model):
        losses = stepper.losses(data['inputs'].flatten(0, 1), data['data_samples'])
        sum(losses.values(), start=torch.zeros(())).backward()
    stepper.model.zero_grad(set_to_none=True)
