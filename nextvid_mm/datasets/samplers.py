"""Samplers that ask for clips: stage by stage after a plan, or epoch by epoch."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import get_rank, get_world_size
from numpy.typing import NDArray
from torch.utils.data import Dataset

from nextvid_mm.checks import check_count
from nextvid_mm.datasets.mixture_schedule import MixtureSchedule
from nextvid_mm.datasets.request import ClipRequest, derive_seed
from nextvid_mm.registry import DATA_SAMPLERS


class StagePlan(NamedTuple):
    """What a sampler has to know of one stage."""

    steps: int
    """Optimiser steps."""
    batch_size: int
    """Clips per optimiser step, over all processes."""
    micro_batch_size: int
    """Clips per process and forward pass."""
    num_frames: int
    """Video frames per clip."""


@DATA_SAMPLERS.register_module()
class ClipSampler:
    """Order of the clips of a run: holds the schedule of a mixture.

    Args:
        dataset: A :class:`~nextvid_mm.datasets.mixture.MixtureDataset`.
        seed: Seed of the run, the same on every process. The Runner supplies it.

    Raises:
        TypeError: If the dataset is not a mixture.
        ValueError: If there is no common seed, or nothing can be drawn from the mixture.
    """

    def __init__(self, dataset: Dataset, seed: int | None) -> None:
        if seed is None:
            raise ValueError(
                'ClipSampler needs the seed that all processes share, found None: set '
                'randomness.seed and leave randomness.diff_rank_seed at False (no sample depends '
                'on its rank)'
            )
        missing = [key for key in ('names', 'weights', 'lengths') if not hasattr(dataset, key)]
        if missing:
            raise TypeError(
                'ClipSampler needs train_dataloader.dataset.type=MixtureDataset '
                f'(one source is enough), found {type(dataset).__name__} without {missing}'
            )
        self.seed = int(seed)
        self.schedule = MixtureSchedule(
            dataset.names,
            dataset.weights,
            dataset.lengths,
            self.seed,
            getattr(dataset, 'static', None),
        )

    def requests(self, positions: NDArray[np.int64], num_frames: int) -> list[ClipRequest]:
        """Ask for the clips at ``positions`` of the run.

        Args:
            positions: Positions ``(n,)``.
            num_frames: Video frames per clip.
        """
        draws = self.schedule.draw(positions)
        return [
            ClipRequest(position, source, index, num_frames, derive_seed(self.seed, position))
            for position, source, index in zip(
                positions.tolist(), draws.source.tolist(), draws.item.tolist(), strict=True
            )
        ]


@DATA_SAMPLERS.register_module()
class StageBatchSampler:
    """Yields the micro-batches of one process, stage after stage.

    Step n of the run takes the positions that follow those of the steps before, one global batch
    of them. Micro-batch m of all processes together is a contiguous piece, of which rank r has the
    r-th part: the clips of a step do not depend on the number of processes. One DataLoader lives
    through all stages, because the number of frames travels with each request.

    Args:
        sampler: Supplies the order of the clips.
        plan: Per stage (steps, batch_size, micro_batch_size, num_frames), as a sequence or a
            mapping; see :class:`StagePlan`.
        batch_size: Always handed over by MMEngine's builder; must be 1, since the plan decides.
        rank: This process. None: ask MMEngine.
        world_size: Number of processes. None: ask MMEngine.
        start_step: First step, see :meth:`set_start`.

    Raises:
        ValueError: If the plan is empty, has a wrong value, or a batch cannot be split over the
            processes.
    """

    def __init__(
        self,
        sampler: ClipSampler,
        plan: Sequence[Sequence[Any] | Mapping[str, Any]],
        batch_size: int = 1,
        rank: int | None = None,
        world_size: int | None = None,
        start_step: int = 0,
    ) -> None:
        if batch_size != 1:
            raise ValueError(
                f'train_dataloader.batch_size={batch_size} would be ignored: leave it out, and '
                'set batch_size and micro_batch_size in train_cfg.stages'
            )
        self.sampler = sampler
        self.rank = get_rank() if rank is None else rank
        self.world_size = get_world_size() if world_size is None else world_size
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f'rank={self.rank} is outside [0, world_size={self.world_size})')
        if not plan:
            raise ValueError('the plan of StageBatchSampler is empty: it needs at least one stage')
        self.plan = tuple(_checked(stage, n, self.world_size) for n, stage in enumerate(plan))
        self.set_start(start_step)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the plan."""
        return sum(stage.steps for stage in self.plan)

    def set_start(self, step: int) -> None:
        """Let the next iteration begin at ``step``; the way there costs nothing.

        Args:
            step: Optimiser step in ``[0, total_steps]``.
        """
        if not 0 <= step <= self.total_steps:
            raise ValueError(f'start step {step} is outside the plan of {self.total_steps} steps')
        self.start_step = step

    def __len__(self) -> int:
        """Micro-batches of this process from the start step on."""
        return sum(
            steps * (stage.batch_size // (stage.micro_batch_size * self.world_size))
            for stage, steps, _ in self._remaining()
        )

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        for stage, steps, first in self._remaining():
            micro = stage.micro_batch_size
            stride = micro * self.world_size
            own = first + micro * self.rank
            # Micro-batches of consecutive steps lie side by side: batch_size is a multiple of the
            # stride.
            for begin in range(own, own + steps * stage.batch_size, stride):
                yield self.sampler.requests(np.arange(begin, begin + micro), stage.num_frames)

    def _remaining(self) -> Iterator[tuple[StagePlan, int, int]]:
        """Yield (stage, steps left in it, position of its first sample that is left)."""
        skip, position = self.start_step, 0
        for stage in self.plan:
            done = min(skip, stage.steps)
            skip -= done
            if done < stage.steps:
                yield stage, stage.steps - done, position + done * stage.batch_size
            position += stage.steps * stage.batch_size


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler`` that gives requests and can start inside an epoch.

    Order and seeds follow from (seed, epoch), so that a resumed run sees the samples that an
    uninterrupted one would have seen, augmented alike, whatever the number of workers. With a
    global batch split over the processes, it also sees the same global batches, but for the last
    of an epoch, which is filled up to the same size on every process.

    Arguments are those of ``DefaultSampler``.
    """

    skip = 0

    def set_skip(self, skip: int) -> None:
        """Leave out the first ``skip`` samples of this process, from the next epoch on."""
        self.skip = skip

    def __iter__(self) -> Iterator[ClipRequest]:
        """Yield requests; ``position`` counts the samples of all processes within the epoch."""
        order = self._order()
        if self.round_up:
            order = order.repeat(-(-self.total_size // len(order)))[: self.total_size]
        for place, index in enumerate(order[self.rank :: self.world_size].tolist()):
            if place < self.skip:
                continue
            position = place * self.world_size + self.rank
            # The position tells apart the copies of a sample that fill up the last batch.
            seed = derive_seed(self.seed, self.epoch, position, index)
            yield ClipRequest(position, 0, index, 0, seed)

    def _order(self) -> torch.Tensor:
        """Of all samples: epoch n has the n-th order drawn from the seed."""
        count = len(self.dataset)
        if not self.shuffle:
            return torch.arange(count)
        draws = torch.Generator().manual_seed(self.seed)
        for _ in range(self.epoch):
            torch.randperm(count, generator=draws)
        return torch.randperm(count, generator=draws)


def _checked(stage: Sequence[Any] | Mapping[str, Any], number: int, world_size: int) -> StagePlan:
    """One stage of a plan, whose batch the processes can share."""
    where = f'stage {number} of the plan'
    plan = StagePlan(**stage) if isinstance(stage, Mapping) else StagePlan(*stage)
    for key, value in plan._asdict().items():
        check_count(value, f'{where}: {key}')
    unit = plan.micro_batch_size * world_size
    if plan.batch_size % unit:
        raise ValueError(
            f'{where}: batch_size={plan.batch_size} cannot be reached by {world_size} processes '
            f'with micro_batch_size={plan.micro_batch_size}, which take {unit} clips at a time'
        )
    return plan
