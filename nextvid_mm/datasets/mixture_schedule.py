"""Which clip stands at which position of a run, for a weighted mixture of sources.

Everything is computed from (weights, lengths, seed, position): nothing is drawn in sequence, so the
schedule can be entered at any position at once and all processes agree without talking to each
other.

Permutations need no memory: a Feistel network permutes a power of two; values that land outside
``range(size)`` go through it again until they land inside ("cycle walking"), which is at most two
passes on average. Any element is therefore found at once, however large the set.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

# Eight rounds: four would satisfy the theory for large domains, small ones (a source of ten clips)
# mix slower.
_ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Array products wrap around silently, scalar ones warn.
_ROUND_OFFSETS = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN

# Distinguish the keys of the kinds of permutation.
_ORDER_KEY, _ITEM_KEY, _STATIC_KEY = 1, 2, 3
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


class Stratum:
    """Sources of one kind, and which of them is drawn at each of the kind's own positions.

    These positions are cut into blocks. In the first b blocks together, source s has exactly
    ``floor(b·K·W[s+1]) - floor(b·K·W[s])`` samples, where K is the block's length and W the
    cumulative, normalised weights: proportions are exact in the long run and never off by more than
    one sample per source at the end of a block. Inside a block the order is a keyed permutation.

    Args:
        numbers: The sources' numbers in the mixture.
        weights: Their weights, exact.
        key: Of the order: integers, the same for every position.
    """

    def __init__(
        self, numbers: Sequence[int], weights: Sequence[Fraction], key: Sequence[int]
    ) -> None:
        self.numbers, self.key = np.array(numbers), tuple(key)
        total = sum(weights)
        self.cumulative = [
            sum(weights[:count], Fraction(0)) / total for count in range(len(weights) + 1)
        ]
        # No source may lose a sample from one block to the next: K · weight >= 1.
        rarest = min(weight for weight in weights if weight) / total
        self.block = max(_SMALLEST_BLOCK, 1 << math.ceil(math.log2(1 / rarest)))

    def draw(self, positions: Integers) -> tuple[Integers, Integers]:
        """Source and number of the sample within its source, at positions of this kind."""
        blocks, offsets = np.divmod(positions, self.block)
        slots = permute(offsets, self.block, make_key(*self.key, blocks))
        unique, which = np.unique(blocks, return_inverse=True)
        before = np.array([self._drawn(int(block)) for block in unique])[which]
        after = np.array([self._drawn(int(block) + 1) for block in unique])[which]
        # Source s owns the slots from after[s] - before[s] up to the next source's.
        source = (slots[:, None] >= (after - before)[:, 1:]).sum(axis=1)
        rows = np.arange(len(slots))
        ordinal = before[rows, source + 1] + slots - after[rows, source]
        return self.numbers[source], ordinal

    def drawn_before(self, position: int) -> Integers:
        """Samples of each of these sources before a position of this kind."""
        blocks, rest = divmod(position, self.block)
        counts = np.diff(self._drawn(blocks))
        if rest:
            last, _ = self.draw(np.arange(position - rest, position))
            counts = counts + (last[:, None] == self.numbers).sum(axis=0)
        return counts

    def _drawn(self, blocks: int) -> list[int]:
        """``floor(blocks · K · W[s])`` for every s, in exact arithmetic."""
        return [math.floor(blocks * self.block * share) for share in self.cumulative]


class MixtureSchedule:
    """Order of the samples of a run.

    Static clips (images) are cheaper than moving ones: their target is encoded once. So that no
    micro-batch of any process waits for another, they are spread evenly: of any n positions in a
    row, ``n · share`` are static, rounded up or down. Which source is drawn among those of a kind
    says ``Stratum``. The n-th sample of a source is item ``n % length`` of a permutation of its own
    for each epoch ``n // length``.

    Args:
        names: Names of the sources, for messages.
        weights: Sampling weights; only their proportions matter. 0 switches a source off.
        lengths: Number of items of each source.
        seed: Seed of the order.
        static: Whether the clips of each source are static; None: none is.

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
        static: Sequence[bool] | None = None,
    ) -> None:
        _check_sources(names, weights, lengths)
        self.names = tuple(names)
        self.lengths = tuple(lengths)
        self.seed = seed
        self.static = tuple(map(bool, static or [False] * len(names)))
        # The decimal a user wrote, not its binary neighbour: 0.2 is 1/5, and the sum is exact.
        exact = [Fraction(repr(float(weight))) for weight in weights]
        self.strata: list[Stratum | None] = []
        for kind in (False, True):
            numbers = [n for n, still in enumerate(self.static) if still == kind]
            own = [exact[number] for number in numbers]
            key = (seed, _STATIC_KEY if kind else _ORDER_KEY)
            self.strata.append(Stratum(numbers, own, key) if any(own) else None)
        still = sum((w for w, is_still in zip(exact, self.static, strict=True) if is_still))
        self.static_share = Fraction(still) / sum(exact)

    def __len__(self) -> int:
        return len(self.names)

    def draw(self, positions: int | Integers) -> Draws:
        """Look up positions, in any order and at any distance.

        Args:
            positions: Positions in the run ``(n,)``, 0 or larger.

        Returns:
            Source, item and epoch of each position.
        """
        positions = np.atleast_1d(positions)
        before = self._static_before(positions)
        static = self._static_before(positions + 1) > before
        source, ordinal = np.empty_like(positions), np.empty_like(positions)
        for kind, own in ((False, positions - before), (True, before)):
            chosen, stratum = static == kind, self.strata[kind]
            if stratum is not None and chosen.any():
                source[chosen], ordinal[chosen] = stratum.draw(own[chosen])
        return self.items(source, ordinal)

    def drawn_before(self, position: int) -> list[int]:
        """Number of samples of each source before a position of the run, exactly."""
        still = int(self._static_before(np.array([position]))[0])
        counts = np.zeros(len(self), dtype=np.int64)
        for stratum, own in zip(self.strata, (position - still, still), strict=True):
            if stratum is not None:
                counts[stratum.numbers] = stratum.drawn_before(own)
        return counts.tolist()

    def _static_before(self, positions: Integers) -> Integers:
        """Number of static clips before each position."""
        top, bottom = self.static_share.numerator, self.static_share.denominator
        if not top:
            return np.zeros_like(positions)
        # Python's integers: a weight of many digits would overflow 64 bits.
        return np.array([int(p) * top // bottom for p in positions], dtype=positions.dtype)

    def items(self, source: Integers, ordinal: Integers) -> Draws:
        """Find the items that are the ``ordinal``-th samples of their sources, both ``(n,)``."""
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


def as_words(values: int | NDArray[np.integer]) -> Words:
    """Turn an integer, or an array of them, into ``uint64`` ``(n,)``; negative ones wrap around."""
    if isinstance(values, np.ndarray):
        return np.atleast_1d(values).astype(np.uint64)
    return np.array([int(values) & (2**64 - 1)], dtype=np.uint64)


def mix(words: Words) -> Words:
    """Scramble 64-bit words one by one (finaliser of SplitMix64, Steele et al. 2014)."""
    words = words + _GOLDEN
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def make_key(*parts: int | NDArray[np.integer]) -> Words:
    """Chain integers, or arrays of them, into keys.

    Args:
        parts: Integers or integer arrays, broadcast against each other.

    Returns:
        Keys ``(n,)``; n is the common length, 1 for plain integers.
    """
    key = np.zeros(1, dtype=np.uint64)
    for part in parts:
        key = mix(key ^ mix(as_words(part)))
    return key


def permute(values: int | NDArray[np.integer], size: int, keys: Words) -> NDArray[np.int64]:
    """Apply the permutations chosen by ``keys`` to ``values``.

    Args:
        values: Integers in ``[0, size)``, ``(n,)``.
        size: Number of elements that are permuted, at least 1.
        keys: Keys from :func:`make_key`, ``(n,)`` or ``(1,)``; for a fixed key the map is a
            bijection.

    Returns:
        Permuted values ``(n,)`` in ``[0, size)``.

    Raises:
        ValueError: If ``size`` is below 1 or a value lies outside ``[0, size)``.
    """
    if size < 1:
        raise ValueError(f'cannot permute {size} elements')
    result = as_words(values)
    if result.size and int(result.max()) >= size:
        raise ValueError(f'value {int(result.max())} is outside [0, {size})')
    keys = np.broadcast_to(keys, result.shape)
    # The halves of a word differ by one bit where the number of bits is odd.
    bits = max(1, (size - 1).bit_length())
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    outside = np.arange(result.size)
    while outside.size:
        high, low = result[outside] >> low_bits, result[outside] & low_mask
        for step in range(_ROUNDS):
            round_keys = keys[outside] + _ROUND_OFFSETS[step]
            if step % 2 == 0:
                high = high ^ (mix(low ^ round_keys) & high_mask)
            else:
                low = low ^ (mix(high ^ round_keys) & low_mask)
        result[outside] = (high << low_bits) | low
        outside = outside[result[outside] >= np.uint64(size)]
    return result.astype(np.int64)
