"""Which clip stands at which position of a run, for a weighted mixture of sources.

Everything is computed from (weights, lengths, seed, position): nothing is drawn in sequence, so the
schedule can be entered at any position at once and all processes agree without talking to each
other.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nextvid_mm.datasets.permutation import make_key, permute

Integers = NDArray[np.int64]

# Distinguish the keys of the two kinds of permutation.
_ORDER_KEY, _ITEM_KEY = 1, 2
# A larger block allows finer weights, a smaller one keeps every batch close to the weights.
_SMALLEST_BLOCK = 256


class Draws(NamedTuple):
    """What stands at n positions: three arrays ``(n,)``."""

    source: Integers
    """Index of the source."""
    item: Integers
    """Index of the item in its source."""
    epoch: Integers
    """How many times the source had been gone through before."""


class MixtureSchedule:
    """Order of the samples of a run.

    Positions are cut into blocks. In the first b blocks together, source s has exactly
    ``floor(b·K·W[s+1]) - floor(b·K·W[s])`` samples, where K is the block's length and W the
    cumulative, normalised
    weights: proportions are exact in the long run and never off by more than one sample per source
        at the end
    of a block. Inside a block the order is a keyed permutation. The n-th sample of a source is
    item ``n % length`` of a permutation of its own for each epoch ``n // length``.

    Args:
        names: Names of the sources, for messages.
        weights: Sampling weights; only their proportions matter. 0 switches a source off.
        lengths: Number of items of each source.
        seed: Seed of the order.

    Raises:
        ValueError: If there is no source, a weight is negative, infinite or NaN, all weights are
            0, or a source with a weight is empty. The message names the source.
    """

    def __init__(
        self,
        names: Sequence[str],
        weights: Sequence[float],
        lengths: Sequence[int],
        seed: int,
    ) -> None:
        _check_sources(names, weights, lengths)
        self.names = tuple(names)
        self.lengths = tuple(lengths)
        self.seed = seed
        # The decimal a user wrote, not its binary neighbour: 0.2 is 1/5, and the sum is exact.
        exact = [Fraction(repr(float(weight))) for weight in weights]
        total = sum(exact)
        self.cumulative = [
            sum(exact[:count], Fraction(0)) / total for count in range(len(exact) + 1)
        ]
        # No source may lose a sample from one block to the next: K · weight >= 1.
        rarest = min(weight for weight in exact if weight) / total
        self.block = max(_SMALLEST_BLOCK, 1 << math.ceil(math.log2(1 / rarest)))

    def __len__(self) -> int:
        return len(self.names)

    def draw(self, positions: int | Integers) -> Draws:
        """Look up positions, in any order and at any distance.

        Args:
            positions: Positions in the run ``(n,)``, 0 or larger.

        Returns:
            Source, item and epoch of each position.
        """
        blocks, offsets = np.divmod(np.atleast_1d(positions), self.block)
        slots = permute(offsets, self.block, make_key(self.seed, _ORDER_KEY, blocks))
        unique, which = np.unique(blocks, return_inverse=True)
        before = np.array([self._drawn(int(block)) for block in unique])[which]
        after = np.array([self._drawn(int(block) + 1) for block in unique])[which]
        # Source s owns the slots from after[s] - before[s] up to the next source's.
        source = (slots[:, None] >= (after - before)[:, 1:]).sum(axis=1)
        rows = np.arange(len(slots))
        ordinal = before[rows, source + 1] + slots - after[rows, source]
        return self._items(source, ordinal)

    def _drawn(self, blocks: int) -> list[int]:
        """``floor(blocks · K · W[s])`` for every s, in exact arithmetic."""
        return [math.floor(blocks * self.block * share) for share in self.cumulative]

    def _items(self, source: Integers, ordinal: Integers) -> Draws:
        """Find the item that is the ``ordinal``-th sample of its source."""
        item, epoch = np.empty_like(ordinal), np.empty_like(ordinal)
        for number in np.unique(source):
            chosen = source == number
            length = self.lengths[number]
            epoch[chosen], place = np.divmod(ordinal[chosen], length)
            keys = make_key(self.seed, _ITEM_KEY, int(number), epoch[chosen])
            item[chosen] = permute(place, length, keys)
        return Draws(source, item, epoch)


def _check_sources(names: Sequence[str], weights: Sequence[float], lengths: Sequence[int]) -> None:
    """Refuse mixtures nothing can be drawn from."""
    if not names:
        raise ValueError('the mixture has no source: list at least one in `sources`')
    if len(set(names)) < len(names):
        raise ValueError(f'names in `sources` must differ, found {list(names)}')
    for name, weight, length in zip(names, weights, lengths, strict=True):
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not 0 <= weight < math.inf
        ):
            raise ValueError(
                f'source {name!r} of the mixture: weight={weight!r} must be a finite number, '
                '0 or larger'
            )
        if weight and not length:
            raise ValueError(
                f'source {name!r} of the mixture is empty; check its list file or folder, '
                'or set its weight to 0'
            )
    if not any(weights):
        raise ValueError(
            f'the weights of the mixture sum to 0: give at least one of {list(names)} '
            'a positive weight'
        )
