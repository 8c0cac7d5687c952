"""The operators of a training step, with the bytes and operations of each, without doing the work.

The model's own loss and backward pass run under PyTorch's fake tensors, which have shapes but no
data, along the ways of a GPU under autocast. Blocks of a network are equal, so that networks of one
and of two blocks tell the rest, as in the memory plan.

An operator moves what it reads and what it writes, every tensor once; views move nothing. A
multiplication with its addition counts as two operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves
from torch.utils.flop_counter import flop_registry

from nextvid_mm.layers import BatchMask, ClipBatch
from nextvid_mm.models.part import replace_blocks
from nextvid_mm.plan.activations import as_on_cuda, build_on_meta

aten = torch.ops.aten


def _pairs(q: Tensor, k: Tensor) -> int:
    return q.shape[:-1].numel() * k.shape[-2] * q.shape[-1]


# Operations of attention; going back, its kernels compute the scores a second time.
ATTENTION: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, *_, **__: 4 * _pairs(q, k),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda grad, q, k, *_, **__: 10 * _pairs(q, k)
    ),
}
# Where a step spends its time; what is in none of the first is `rest`, gradients are `backward`.
PARTS = ('target', 'reference', 'encoder', 'predictor', 'decoder', 'align')
SLOTS = dict(
    target='target_generator',
    reference='reference',
    encoder='backbone',
    predictor='neck',
    decoder='head',
    align='align_head',
)
DEEP = ('reference', 'encoder', 'predictor', 'decoder')
# Nothing is moved: memory is handed out.
_FREE = {aten.empty, aten.empty_like, aten.new_empty, aten.empty_strided, aten.new_empty_strided}


class Work(NamedTuple):
    """An operator with its cost."""

    part: str
    """Of the step, see ``PARTS``."""
    name: str
    kind: str
    """``product``, ``attention`` or ``memory``."""
    dtype: torch.dtype
    read: int
    written: int
    flops: int

    @property
    def bytes(self) -> int:
        """Moved."""
        return self.read + self.written


class Argument(NamedTuple):
    """A tensor that an operator was called with."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    number: int
    """Among the tensors of the call; one that is passed twice has the same."""


class Ran(NamedTuple):
    """An operator as it was called, without the data: enough to call it again."""

    operator: OpOverload
    arguments: tuple[Any, ...]
    """One after the other, tensors as `Argument`."""
    structure: TreeSpec


@dataclass
class _Call:
    """An operator of a trace, with the storages that it reads and writes."""

    work: Work
    reads: dict[int, int]
    writes: dict[int, int]


Counted = Counter[Work]


@dataclass
class Trace(TorchDispatchMode):
    """Writes down the operators that run within it."""

    calls: list[_Call] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)  # views and allocations, too
    part: str = 'rest'

    def __post_init__(self) -> None:
        super().__init__()
        # A storage that is gone would lend its number to another. Tensors themselves are not kept:
        # autograd copies a gradient that someone else holds.
        self.kept: list[StorageWeakRef] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.namespace != 'prim':  # questions that fake tensors ask of themselves
            self.ran.append(_ran(func, args, kwargs or {}))
        out = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        written = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        read = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        self.kept += [StorageWeakRef(x.untyped_storage()) for x in written]
        # Views share the storage of what they show; in-place operators do, too, but change it.
        fresh = [x for x in written if not any(_place(x) == _place(y) for y in read)]
        mutates = func._schema.is_mutable
        if packet not in _FREE and (fresh or mutates):
            kind, flops = 'memory', 0
            if packet in ATTENTION:
                kind, flops = 'attention', ATTENTION[packet](*args, **(kwargs or {}))
            elif packet in flop_registry:
                kind = 'product'
                flops = flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            self._note(packet.__name__, kind, flops, read, written if mutates else fresh)
        return out

    def _note(
        self, name: str, kind: str, flops: int, read: Sequence[Tensor], written: Sequence[Tensor]
    ) -> None:
        reads, writes = ({_place(x): _moved(x) for x in group} for group in (read, written))
        widest = max((x.dtype for x in (*read, *written)), key=lambda dtype: dtype.itemsize)
        dtype = read[0].dtype if flops else widest
        work = Work(self.part, name, kind, dtype, sum(reads.values()), sum(writes.values()), flops)
        self.calls.append(_Call(work, reads, writes))


def _ran(operator: OpOverload, args: Any, kwargs: Any) -> Ran:
    leaves, structure = tree_flatten((args, kwargs))
    numbers: dict[int, int] = {}
    arguments = tuple(
        Argument(x.shape, x.stride(), x.dtype, numbers.setdefault(id(x), len(numbers)))
        if isinstance(x, Tensor)
        else x
        for x in leaves
    )
    return Ran(operator, arguments, structure)


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _moved(tensor: Tensor) -> int:
    """Bytes of a tensor: of an expanded one, what there is."""
    return min(tensor.numel() * tensor.itemsize, tensor.untyped_storage().nbytes())


class StepTracer:
    """Traces steps of a ``NextVid`` config in bfloat16 autocast.

    Args:
        config: of the model.
        masks: numbers of visible and queried patches (K, M) of each strategy.
        dtype: of autocast; None for none.
        like_cuda: go the ways of a GPU; False: those of a CPU.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        masks: Sequence[tuple[int, int]],
        dtype: torch.dtype | None = torch.bfloat16,
        like_cuda: bool = True,
    ) -> None:
        self.masks, self.dtype = masks, dtype
        self.ways = as_on_cuda if like_cuda else nullcontext
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        self.model = build_on_meta(config)
        with self.mode:
            self.model.to_empty(device='cpu')
        self.model.train()
        slots = {part: getattr(self.model, slot) for part, slot in SLOTS.items()}
        self.parts = {part: module for part, module in slots.items() if module is not None}
        self.trunks = {
            part: (module.encoder if part == 'reference' else module).trunk
            for part, module in self.parts.items()
            if part in DEEP
        }
        self.blocks = {part: list(trunk.blocks) for part, trunk in self.trunks.items()}

    def count(self, frames: int, clips: int, images: int = 0) -> tuple[Counted, Counted]:
        """How often each operator runs in the losses and gradients of a batch.

        Args:
            frames: video frames of a clip.
            clips: in the batch.
            images: of them, clips that are one picture all the time.

        Returns:
            Operators one by one, and with neighbours joined as a compiler joins them, see `fuse`.
        """
        eager, fused = self._deep(
            frames,
            clips,
            images,
            lambda trace: (call.work for call in trace.calls),
            lambda trace: fuse(trace.calls),
        )
        return eager, fused

    def ran(self, frames: int, clips: int, images: int = 0) -> Counter[Ran]:
        """How often each call of an operator occurs there, views included; as for `count`."""
        return self._deep(frames, clips, images, lambda trace: trace.ran)[0]

    def _deep(
        self, frames: int, clips: int, images: int, *readings: Callable[[Trace], Iterable[Any]]
    ) -> list[Counter[Any]]:
        """What is read off the trace of a step, counted for networks of full depth."""

        def counted(longer: str | None = None) -> list[Counter[Any]]:
            trace = self._trace(frames, clips, images, longer)
            return [Counter(read(trace)) for read in readings]

        singles = counted()
        totals = [Counter(single) for single in singles]
        for part, blocks in self.blocks.items():
            if len(blocks) > 1:
                for total, single, double in zip(totals, singles, counted(part), strict=True):
                    for what in single.keys() | double.keys():
                        total[what] += (len(blocks) - 1) * (double[what] - single[what])
        return [Counter({w: n for w, n in total.items() if n}) for total in totals]

    def _trace(self, frames: int, clips: int, images: int, longer: str | None = None) -> Trace:
        """Operators with one block per network, two in ``longer``."""
        for part, trunk in self.trunks.items():
            replace_blocks(trunk, self.blocks[part][: 2 if part == longer else 1])
        trace, size = Trace(), self.model.backbone.img_size
        # Fake tensors ask for a stand-in of CUDA, whose thread a forked process cannot start.
        no_cuda = patch.object(torch._C, '_ensureCUDADeviceGuardSet', lambda: None, create=True)
        with no_cuda, self.mode, self.ways(), _parts_named(self.parts, trace):
            clip = torch.zeros(clips, 1, 3, frames, size, size)
            batch = self._batch(clips, images)
            with trace, torch.autocast('cpu', self.dtype, enabled=self.dtype is not None):
                losses = self.model(clip, batch, mode='loss')
                loss = sum(losses.values(), start=torch.zeros(()))
            trace.part = 'backward'
            with trace:
                loss.backward()
        self.model.zero_grad(set_to_none=True)
        return trace

    def _batch(self, clips: int, images: int) -> ClipBatch:
        order = torch.arange(sum(self.masks[0]))
        masks = [
            BatchMask(order[:shown].expand(clips, -1), order[-hidden:].expand(clips, -1))
            for shown, hidden in self.masks
        ]
        numbers = torch.arange(clips)
        return ClipBatch(tuple(masks), None, numbers[images:], numbers[:images], None, [])


@contextmanager
def _parts_named(parts: dict[str, nn.Module], trace: Trace) -> Iterator[None]:
    """Let a trace know which part of a step is at work."""

    def name(part: str) -> Callable[..., None]:
        def set_part(*_: Any) -> None:
            trace.part = part

        return set_part

    with ExitStack() as hooks:
        for part, module in parts.items():
            for hook in (
                module.register_forward_pre_hook(name(part)),
                module.register_forward_hook(name('rest')),
            ):
                hooks.callback(hook.remove)
        yield


def fuse(calls: Sequence[_Call]) -> Iterable[Work]:
    """Join what a compiler joins: element-wise operators, norms and sums with their neighbours.

    An operator joins the group that made one of its inputs, unless a product or attention stands
    between them. A group reads what others have made and writes what others read.
    """
    group_of: dict[int, int] = {}  # of the storage: who wrote it last
    groups: list[list[_Call]] = []
    numbers: list[int] = []
    for call in calls:
        number = None
        if call.work.kind == 'memory':
            made = [group_of[place] for place in call.reads if place in group_of]
            near = [n for n in made if _open(groups[n], call)]
            # Later groups may depend on earlier ones, not the other way round.
            if near and max(near) == max(made):
                number = max(near)
        if number is None:
            number = len(groups)
            groups.append([])
        groups[number].append(call)
        numbers.append(number)
        for place in call.writes:
            group_of[place] = number
    last_use: dict[int, set[int]] = {}
    for call, number in zip(calls, numbers, strict=True):
        for place in call.reads:
            last_use.setdefault(place, set()).add(number)
    for number, group in enumerate(groups):
        if len(group) == 1:
            yield group[0].work
            continue
        written: dict[int, int] = {}
        read: dict[int, int] = {}
        for call in group:
            for place, size in call.reads.items():
                if place not in written:
                    read[place] = max(size, read.get(place, 0))
            written |= call.writes
        outside = {p: s for p, s in written.items() if last_use.get(p, set()) - {number}}
        names = '+'.join(dict.fromkeys(call.work.name for call in group))
        first = group[0].work
        yield first._replace(name=names, read=sum(read.values()), written=sum(outside.values()))


def _open(group: Sequence[_Call], call: _Call) -> bool:
    return group[0].work.kind == 'memory' and group[0].work.part == call.work.part
