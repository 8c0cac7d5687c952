"""The multi-block mask sampler of V-JEPA (arXiv 2404.08471), for one frame's grid of patches.

Shape legend: n draws, R rows, C columns of patches.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# The survey costs some 50 ms, once per process and strategy.
_SURVEY_DRAWS = 20_000
_SURVEY_SEED = 0
# Rarer counts are not waited for: on average 500 draws, 1 to 2 ms on 16 x 16 patches.
_RAREST = 1 / 500
# So often a count of that chance is missed once in 3,500 clips.
_MAX_DRAWS = 4096
# Rounding to whole patches and the published blocks go this far over the edge of a large grid.
_SLACK = 1.05


@dataclass(frozen=True)
class BlockStrategy:
    """Hides the union of rectangular blocks.

    Args:
        grid: Patches of a frame (rows, columns).
        num_blocks: Number of blocks; all blocks of a mask have the same size, and may overlap.
        scale: Area of one block as a share of the frame.
        aspect_ratio: Range of height / width of a block, drawn evenly.

    Raises:
        ValueError: If a value is out of its range.
    """

    grid: tuple[int, int]
    num_blocks: int
    scale: float
    aspect_ratio: tuple[float, float]

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or self.scale <= 0:
            raise ValueError(
                f'mask strategy num_blocks={self.num_blocks}, scale={self.scale} hides nothing: '
                'num_blocks must be at least 1 and scale larger than 0'
            )
        if self.scale > 1:
            raise ValueError(f'mask strategy scale={self.scale} is a share of the frame: at most 1')
        low, high = self.aspect_ratio
        if not 0 < low <= high:
            raise ValueError(
                f'aspect_ratio={self.aspect_ratio} must be two numbers, 0 < low <= high'
            )

    def __str__(self) -> str:
        return f'num_blocks={self.num_blocks}, scale={self.scale}'

    @property
    def num_patches(self) -> int:
        """Patches of a frame."""
        return self.grid[0] * self.grid[1]

    def _check_fit(self) -> None:
        """Refuse blocks that the edge of the grid would cut down to another strategy."""
        (rows, columns), (low, high) = self.grid, self.aspect_ratio
        area = self.scale * self.num_patches
        tallest, widest = math.sqrt(area * high), math.sqrt(area / low)
        if all(
            side <= max(limit + 0.5, _SLACK * limit)
            for side, limit in ((tallest, rows), (widest, columns))
        ):
            return
        fits = _SLACK**2 * min(rows**2 / high, columns**2 * low) / self.num_patches
        raise ValueError(
            f'mask strategy {self} with aspect_ratio={self.aspect_ratio} does not fit the grid of '
            f'{rows}×{columns} patches: its blocks are up to {tallest:.1f} rows high and up to '
            f'{widest:.1f} columns wide. What fits is a scale of at most '
            f'{math.floor(fits * 1000) / 1000:g}, or another aspect_ratio'
        )

    def draw(self, rng: np.random.Generator, count: int = 1) -> NDArray[np.bool_]:
        """Draw masks.

        Args:
            rng: Source of randomness.
            count: n.

        Returns:
            True where hidden, ``(n, R, C)``. Everything may be hidden.
        """
        chance = rng.random((count, 1 + 2 * self.num_blocks))
        low, high = self.aspect_ratio
        ratio = low + (high - low) * chance[:, :1]
        area = self.scale * self.num_patches
        sides = np.sqrt(area * ratio), np.sqrt(area / ratio)
        starts = np.split(chance[:, 1:], 2, axis=1)
        tall, wide = map(_cover, self.grid, sides, starts)
        # Any block of a row and a column hides their patch.
        return (tall.transpose(0, 2, 1) @ wide) > 0

    @lru_cache(maxsize=64)  # noqa: B019 (a strategy is a few numbers)
    def survey(self) -> NDArray[np.int64]:
        """Return the sorted numbers of visible patches of many draws that do not hide everything.

        The draws have a fixed seed of their own: the result is a property of the strategy.

        Raises:
            ValueError: If blocks do not fit the grid, or every draw hides everything.
        """
        self._check_fit()
        rng, part = np.random.default_rng(_SURVEY_SEED), 500
        draws = (self.draw(rng, part) for _ in range(_SURVEY_DRAWS // part))
        hidden = np.concatenate([masks.sum(axis=(1, 2)) for masks in draws])
        visible = np.sort(self.num_patches - hidden)
        visible = visible[visible > 0]
        if not visible.size:
            raise ValueError(
                f'mask strategy {self} hides all {self.num_patches} patches of a '
                f'{self.grid[0]}×{self.grid[1]} grid in every draw: '
                'use a smaller scale, fewer blocks or smaller patches'
            )
        return visible

    def chance_of(self, num_visible: int) -> float:
        """Share of the draws that leave exactly ``num_visible`` patches visible."""
        return float(np.count_nonzero(self.survey() == num_visible)) / _SURVEY_DRAWS

    def is_likely(self, num_visible: int) -> bool:
        """Whether draws are repeated until one leaves exactly ``num_visible`` patches visible."""
        return self.chance_of(num_visible) >= _RAREST

    def draw_exactly(
        self, num_visible: int, rng: np.random.Generator, rim: int = 0
    ) -> NDArray[np.bool_]:
        """Draw a mask ``(R, C)`` that leaves exactly ``num_visible`` patches visible.

        Draws until one does, many at a time. Where that is too rare (see ``is_likely``), the
        closest of 256 draws is adjusted at the rim of its blocks: see ``adjust_rim``.

        Args:
            num_visible: Patches that are not hidden, at least 1.
            rng: Source of randomness; the same state gives the same mask.
            rim: Draws that miss ``num_visible`` by so much are taken, too, and adjusted.
        """
        chance = self.chance_of(num_visible)
        likely = chance >= _RAREST
        # About as many draws at once as are needed on average.
        size = int(np.clip(1 / chance, 16, 256)) if likely else 256
        closest, distance = None, math.inf
        for _ in range(0, _MAX_DRAWS if likely else size, size):
            masks = self.draw(rng, size)
            off = np.abs((~masks).sum(axis=(1, 2)) - num_visible)
            near = off <= rim
            first = int(near.argmax() if near.any() else off.argmin())
            if off[first] < distance:
                closest, distance = masks[first], off[first]
            if distance <= rim:
                break
        assert closest is not None
        return adjust_rim(closest, num_visible, rng) if distance else closest


def _cover(length: int, side: NDArray, start: NDArray) -> NDArray[np.float32]:
    """Which of ``length`` rows each block covers: ``(n, blocks, length)``, 0 or 1.

    Args:
        length: Rows (or columns) of the grid.
        side: Rows of a block before rounding ``(n, 1)``.
        start: Where it starts among the possible places, ``(n, blocks)`` in [0, 1).
    """
    side = np.clip(np.rint(side), 1, length)
    first = np.floor(start * (length - side + 1))[..., None]
    place = np.arange(length)
    return ((place >= first) & (place < first + side[..., None])).astype(np.float32)


def adjust_rim(
    hidden: NDArray[np.bool_], num_visible: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Move the rim between hidden and visible patches until ``num_visible`` are visible.

    One patch after the other changes sides: of those at the rim, the one with most of its four
    neighbours on the other side; equal ones in an order drawn from ``rng``.

    Args:
        hidden: True where hidden, ``(R, C)``; not changed.
        num_visible: Patches to leave visible.
        rng: Source of randomness.
    """
    hidden, order = hidden.copy(), rng.random(hidden.shape)
    while surplus := int(hidden.size - hidden.sum()) - num_visible:
        grows = hidden == (surplus > 0)
        padded = np.pad(grows, 1).astype(int)
        near = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        hidden.flat[np.where(grows, -1, near + order).argmax()] = surplus > 0
    return hidden
