"""Pseudo-random permutations of ``range(size)`` that need no memory.

A Feistel network permutes a power of two; values that land outside ``range(size)`` go through the
network again until they land inside ("cycle walking"), which is at most two passes on average. Any
element of the permutation is therefore found at once, however large the set.
"""

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

# Eight rounds: four would satisfy the theory for large domains, small ones (a source of ten clips)
# mix slower.
_ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
# Array products wrap around silently, scalar ones warn.
_ROUND_OFFSETS = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * _GOLDEN


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
    bits = max(1, (size - 1).bit_length())
    outside = np.arange(result.size)
    while outside.size:
        result[outside] = _feistel(result[outside], bits, keys[outside])
        outside = outside[result[outside] >= np.uint64(size)]
    return result.astype(np.int64)


def _feistel(values: Words, bits: int, keys: Words) -> Words:
    """Permute ``range(2**bits)``; the halves differ by one bit where ``bits`` is odd."""
    low_bits = np.uint64(bits // 2)
    low_mask = np.uint64((1 << (bits // 2)) - 1)
    high_mask = np.uint64((1 << (bits - bits // 2)) - 1)
    high, low = values >> low_bits, values & low_mask
    for step in range(_ROUNDS):
        round_keys = keys + _ROUND_OFFSETS[step]
        if step % 2 == 0:
            high = high ^ (mix(low ^ round_keys) & high_mask)
        else:
            low = low ^ (mix(high ^ round_keys) & low_mask)
    return (high << low_bits) | low
