"""Samples of one epoch after the other, each with the seed of everything random about it."""

from collections.abc import Iterator

from mmengine.dataset import DefaultSampler

from nextvid_mm.datasets.request import ClipRequest, derive_seed
from nextvid_mm.registry import DATA_SAMPLERS


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
        for place, index in enumerate(super().__iter__()):
            if place < self.skip:
                continue
            position = place * self.world_size + self.rank
            # The position tells apart the copies of a sample that fill up the last batch.
            seed = derive_seed(self.seed, self.epoch, position, index)
            yield ClipRequest(position, 0, index, 0, seed)
