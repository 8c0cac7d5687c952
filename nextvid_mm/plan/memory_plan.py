"""How much memory a GPU needs for a config: arithmetic from shapes, nothing is allocated."""

from dataclasses import dataclass, fields
from typing import NamedTuple

from rich.table import Table
from torch import nn

from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.activations import PARTS, ActivationCounter, Activations

FLOAT32, BFLOAT16 = 4, 2  # bytes
ADAM_STATES = 2
# Share of a GPU's memory that is planned.
USABLE = 0.85


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters."""

    trainable: int
    still: int  # of the networks that are trained in part (`tuned`): the rest
    reference: int  # the EMA encoder
    frozen: int  # bytes of the target generator, which may be in bfloat16
    largest_unit: int  # of the largest block, which FSDP gathers on its own
    resident: int  # what FSDP gathers once and keeps for the whole step


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes on one GPU, by purpose."""

    parameters: int  # of the networks that are trained, in part or whole
    gradients: int
    optimizer: int  # AdamW's two moments
    reference: int
    target: int
    buffers: int  # of communication and casting, see `plan`
    activations: int  # kept until the backward pass
    recomputed: int  # of the block that is being recomputed

    @property
    def total(self) -> int:
        """Sum of all."""
        return sum(vars(self).values())


def count_weights(model: nn.Module) -> Weights:
    """Count the parameters of a ``NextVid``, on any device."""
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    reference = _size(model.reference)
    networks = _size(model) - reference - _size(model.target_generator)
    return Weights(
        trainable=trainable,
        still=networks - trainable,
        reference=reference,
        frozen=_bytes(model.target_generator),
        largest_unit=max(_size(block) for block in model.backbone.trunk.blocks),
        resident=networks - _size(model.backbone),
    )


def _size(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() for p in module.parameters())


def _bytes(module: nn.Module | None) -> int:
    return 0 if module is None else sum(p.numel() * p.itemsize for p in module.parameters())


def plan(
    weights: Weights, activations: Activations, clips: int, shards: int | None = None
) -> MemoryPlan:
    """Add up one GPU's memory in training with AdamW under bfloat16 autocast.

    ``clips`` go through the model at once; ``shards`` GPUs share one copy (FSDP2), None means a
    copy on each (DDP). Under DDP, ``buffers`` are its buckets, as large as the gradients, and
    autocast's bfloat16 copies of the weights; under FSDP, the gathered bfloat16 weights of what
    stays and of two blocks (one at work, one on its way), and one block's gradient in float32.
    """
    own = shards or 1
    share = -(-weights.trainable // own) * FLOAT32
    networks = weights.trainable + weights.still
    if shards is None:
        buffers = weights.trainable * FLOAT32 + networks * BFLOAT16
    else:
        gathered = weights.resident + 2 * weights.largest_unit
        buffers = gathered * BFLOAT16 + weights.largest_unit * FLOAT32
    return MemoryPlan(
        parameters=-(-networks // own) * FLOAT32,
        gradients=share,
        optimizer=ADAM_STATES * share,
        reference=-(-weights.reference // own) * FLOAT32,
        target=-(-weights.frozen // own),
        buffers=buffers,
        activations=clips * activations.kept,
        recomputed=clips * activations.recomputed,
    )


COLUMNS = ('clips at once', 'checkpointing', *(f.name for f in fields(MemoryPlan)), 'total')
CHECKPOINTING: dict[str, dict[str, bool | str]] = dict(
    none={},
    products=dict.fromkeys(PARTS, 'products'),
    encoder=dict(backbone=True),
    all=dict.fromkeys(PARTS, True),
)


class StageKind(NamedTuple):
    """What of a stage decides about memory; ``clips`` is per forward pass of one process."""

    num_frames: int
    tau_samples: int
    clips: int


def stage_kinds(table: StageTable, world_size: int) -> list[StageKind]:
    """The different kinds of stage of a table, in its order.

    Raises:
        ValueError: If the processes cannot reach a stage's global batch.
    """
    pairs = zip(table, table.batches(world_size), strict=True)
    kinds = [StageKind(s.num_frames, s.tau_samples, batch.micro_batch_size) for s, batch in pairs]
    return list(dict.fromkeys(kinds))


def memory_rows(
    weights: Weights, counter: ActivationCounter, kind: StageKind, shards: int | None
) -> list[tuple[str, ...]]:
    """Rows of text under :data:`COLUMNS`, in GiB, one for each choice of checkpointing."""
    rows = []
    for name, recompute in CHECKPOINTING.items():
        activations = counter.count(kind.num_frames, kind.tau_samples, recompute)
        found = plan(weights, activations, kind.clips, shards)
        sizes = [*vars(found).values(), found.total]
        rows.append((str(kind.clips), name, *(f'{size / 2**30:.1f}' for size in sizes)))
    return rows


def render(rows: list[tuple[str, ...]], title: str) -> Table:
    """Lay rows out for the terminal."""
    view = Table(title=title, title_justify='left')
    for name in COLUMNS:
        view.add_column(name, justify='left' if name == 'checkpointing' else 'right')
    for row in rows:
        view.add_row(*row)
    return view
