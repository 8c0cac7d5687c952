"""The stage table: the one place where a run's horizons are written down.

Pure Python: no torch, no MMEngine. Everything that changes over a run (learning rates, tau samples,
frames per clip, batch sizes, EMA momentum) is a function of the table and of a step number, so a
resumed run cannot drift from an uninterrupted one and no schedule keeps state.

One step is one optimiser step. Published values: arXiv 2512.21004, Table 8.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import accumulate
from typing import Any, NamedTuple

from nextvid_mm.checks import check_count, meant

GROUPS = ('base', 'flow')
"""Parameter groups a stage sets the learning rate of: encoder and predictor, and the flow
decoder."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stretch of training with fixed settings and linear learning rates.

    Args:
        name: Name in logs and messages; unique in a table.
        steps: Number of optimiser steps.
        lr: Learning rate at the first and at the last step, linear in between. One number is a
            constant.
        tau_samples: Flow times drawn per condition; they multiply the decoder's batch only.
        num_frames: Video frames per clip.
        batch_size: Global number of clips per optimiser step, whatever the number of processes.
        flow_lr: The decoder's own learning rate, a constant or (first, last). None: the same as
            ``lr``.
        micro_batch_size: Most clips one process takes through the model at once; the rest of its
            share is accumulated. None: the whole share.
        ema_momentum: Share of the old weights the reference encoder keeps per step, see
            :func:`check_momentum`.
        weight_decay: Weight decay in this stage. None: the optimiser's own.
    """

    name: str
    steps: int
    lr: tuple[float, float]
    tau_samples: int
    num_frames: int
    batch_size: int
    flow_lr: tuple[float, float] | None = None
    micro_batch_size: int | None = None
    ema_momentum: float = 0.99925
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f'a stage needs a name (a string), found name={self.name!r}')
        for key in ('steps', 'tau_samples', 'num_frames', 'batch_size', 'micro_batch_size'):
            if key != 'micro_batch_size' or self.micro_batch_size is not None:
                check_count(getattr(self, key), f'stage {self.name!r}: {key}')
        object.__setattr__(self, 'lr', self._endpoints('lr'))
        if self.flow_lr is not None:
            object.__setattr__(self, 'flow_lr', self._endpoints('flow_lr'))
        check_momentum(self.ema_momentum, f'stage {self.name!r}: ema_momentum')
        decay = 0.0 if self.weight_decay is None else self.weight_decay
        if not (_is_number(decay) and decay >= 0):
            raise ValueError(f'{self._at("weight_decay")} must be None or a number >= 0')

    def _at(self, key: str) -> str:
        return f'stage {self.name!r}: {key}={getattr(self, key)!r}'

    def _endpoints(self, key: str) -> tuple[float, float]:
        value = getattr(self, key)
        pair = (value, value) if _is_number(value) else value
        is_pair = isinstance(pair, Sequence) and len(pair) == 2 and all(map(_is_number, pair))
        if not is_pair or min(pair) < 0:
            raise ValueError(
                f'{self._at(key)} must be one number >= 0, or two: at the first and the last step'
            )
        return float(pair[0]), float(pair[1])

    def lr_at(self, step: int, group: str = 'base') -> float:
        """Learning rate of ``group`` at the stage's own ``step`` (0 is its first)."""
        if group not in GROUPS:
            raise ValueError(f'group={group!r} is not a parameter group; there are {GROUPS}')
        first, last = self.flow_lr if group == 'flow' and self.flow_lr is not None else self.lr
        if first == last or self.steps == 1:
            return first
        share = step / (self.steps - 1)
        return first * (1 - share) + last * share


class StageBatch(NamedTuple):
    """How one stage's global batch is met by a given number of processes.

    ``batch_size == world size * micro_batch_size * accumulation``.
    """

    steps: int
    batch_size: int
    micro_batch_size: int
    accumulation: int
    num_frames: int


class StageTable:
    """An ordered list of stages and every question a run asks of it.

    Args:
        stages: At least one :class:`Stage`, or the keyword arguments of one as a dict.

    Raises:
        ValueError: If there is no stage, a name occurs twice, a key is unknown or missing, or a
            value is out of range. The message names stage and key.
    """

    def __init__(self, stages: Sequence[Stage | Mapping[str, Any]]) -> None:
        if isinstance(stages, Mapping) or not isinstance(stages, Sequence) or not stages:
            raise ValueError(f'train_cfg.stages must list at least one stage, found {stages!r}')
        self.stages = tuple(_to_stage(stage, place) for place, stage in enumerate(stages))
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f'train_cfg.stages: names must differ, found {names}')
        # starts[i] is the global step at which stage i begins; the last entry is the end of the
        # run.
        self.starts = (0, *accumulate(stage.steps for stage in self.stages))

    def __len__(self) -> int:
        return len(self.stages)

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self.stages)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.starts[-1]

    def at(self, step: int) -> tuple[int, Stage, int]:
        """Return (index of the stage, the stage, step within it) for a global step.

        Raises:
            IndexError: If ``step`` lies outside ``[0, total_steps)``.
        """
        if not 0 <= step < self.total_steps:
            raise IndexError(f'step {step} is outside the table of {self.total_steps} steps')
        index = bisect_right(self.starts, step) - 1
        return index, self.stages[index], step - self.starts[index]

    def lr(self, step: int, group: str = 'base') -> float:
        """Learning rate of parameter ``group`` with which global ``step`` trains."""
        _, stage, within = self.at(step)
        return stage.lr_at(within, group)

    def samples_before(self, step: int) -> int:
        """Number of clips the run has consumed before global ``step`` (up to ``total_steps``)."""
        if not 0 <= step <= self.total_steps:
            raise IndexError(f'step {step} is outside the table of {self.total_steps} steps')
        pairs = zip(self.stages, self.starts, strict=False)
        return sum(
            stage.batch_size * min(max(step - start, 0), stage.steps) for stage, start in pairs
        )

    def batches(self, world_size: int) -> list[StageBatch]:
        """Resolve each stage's batch for ``world_size`` processes.

        The micro-batch is the largest divisor of a process's share that does not exceed
        ``micro_batch_size``.

        Raises:
            ValueError: If ``world_size`` does not divide a stage's global batch.
        """
        return [_resolve_batch(stage, world_size) for stage in self.stages]

    def plan(self, world_size: int) -> list[tuple[int, int, int, int]]:
        """For a sampler: (steps, batch_size, micro_batch_size, num_frames) of each stage."""
        return [
            (batch.steps, batch.batch_size, batch.micro_batch_size, batch.num_frames)
            for batch in self.batches(world_size)
        ]

    def to_dicts(self) -> list[dict[str, Any]]:
        """The table as plain data; ``StageTable(table.to_dicts())`` restores it."""
        return [asdict(stage) for stage in self.stages]


def check_momentum(value: Any, key: str) -> None:
    """Raise unless a momentum weighs the *old* reference weights: 0 (no average), or 0.5 to 1.

    MMEngine's hook of the same name has the opposite convention.

    Raises:
        ValueError: With the two conventions and the value that was perhaps meant.
    """
    if not (_is_number(value) and 0 <= value <= 1):
        raise ValueError(f'{key}={value!r} must be a number in [0, 1]')
    if 0 < value < 0.5:
        raise ValueError(
            f'{key}={value!r} weighs the old weights: reference = momentum * reference + (1 - '
            "momentum) * encoder. In MMEngine's EMAHook it weighs the new ones; if that is meant, "
            f'write {1 - value:.10g} here. Allowed are 0.5 to 1, and exactly 0 for no average: '
            'the reference then is the encoder. The key is ema_momentum of train_cfg.stages'
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _to_stage(stage: Stage | Mapping[str, Any], place: int) -> Stage:
    if isinstance(stage, Stage):
        return stage
    if not isinstance(stage, Mapping):
        raise ValueError(f'train_cfg.stages[{place}] must be a dict, found {stage!r}')
    where = f'train_cfg.stages[{place}] ({stage.get("name", "unnamed")})'
    known = {field.name for field in fields(Stage)}
    for key in stage:
        if key not in known:
            raise ValueError(f'{where}: unknown key {key!r}. {meant(key, known)}')
    required = ('name', 'steps', 'lr', 'tau_samples', 'num_frames', 'batch_size')
    missing = [key for key in required if key not in stage]
    if missing:
        raise ValueError(f'{where}: missing {missing}')
    return Stage(**stage)


def _resolve_batch(stage: Stage, world_size: int) -> StageBatch:
    check_count(world_size, 'world_size')
    share, rest = divmod(stage.batch_size, world_size)
    if rest:
        below = max(n for n in range(1, world_size + 1) if stage.batch_size % n == 0)
        raise ValueError(
            f'stage {stage.name!r}: the global batch_size={stage.batch_size} cannot be split '
            f'evenly over {world_size} processes. Use a number of processes that divides it '
            f'({below} is the next lower one), or change batch_size to a multiple of {world_size}.'
        )
    limit = min(stage.micro_batch_size or share, share)
    micro = next(size for size in range(limit, 0, -1) if share % size == 0)
    return StageBatch(stage.steps, stage.batch_size, micro, share // micro, stage.num_frames)
