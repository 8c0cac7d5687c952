"""The multi-block mask sampler of V-JEPA (arXiv 2404.08471), for one frame's grid of patches."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Enough for a stable low quantile; one strategy costs some 50 ms, once per process.
_SURVEY_DRAWS = 2000
_SURVEY_SEED = 0


@dataclass(frozen=True)
class BlockStrategy:
    """Hides the union of rectangular blocks.

    Args:
        grid: Patches of a frame (rows, columns).
        num_blocks: Number of blocks; all blocks of a mask have the same size, and may overlap.
        scale: Area of one block as a share of the frame.
        aspect_ratio: Range of height / width of a block, drawn evenly.

    Raises:
        ValueError: If the mask would hide nothing or everything, or a value is out of its range.
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

    @property
    def num_patches(self) -> int:
        """Patches of a frame."""
        return self.grid[0] * self.grid[1]

    def draw(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Draw one mask.

        Args:
            rng: Source of randomness.

        Returns:
            True where hidden, ``(rows, columns)``. Everything may be hidden.
        """
        rows, columns = self.grid
        area = self.scale * self.num_patches
        ratio = rng.uniform(*self.aspect_ratio)
        height = min(max(round(math.sqrt(area * ratio)), 1), rows)
        width = min(max(round(math.sqrt(area / ratio)), 1), columns)
        hidden = np.zeros(self.grid, dtype=bool)
        tops = rng.integers(0, rows - height + 1, size=self.num_blocks).tolist()
        lefts = rng.integers(0, columns - width + 1, size=self.num_blocks).tolist()
        for top, left in zip(tops, lefts, strict=True):
            hidden[top : top + height, left : left + width] = True
        return hidden

    def survey(self) -> NDArray[np.int64]:
        """Return the sorted numbers of visible patches of many draws that do not hide everything.

        The draws have a fixed seed of their own: the result is a property of the strategy.

        Raises:
            ValueError: If every draw hides everything.
        """
        return _survey(self)


@lru_cache(maxsize=64)
def _survey(strategy: BlockStrategy) -> NDArray[np.int64]:
    rng = np.random.default_rng(_SURVEY_SEED)
    hidden = np.array([strategy.draw(rng).sum() for _ in range(_SURVEY_DRAWS)])
    visible = np.sort(strategy.num_patches - hidden)
    visible = visible[visible > 0]
    if not visible.size:
        raise ValueError(
            f'mask strategy num_blocks={strategy.num_blocks}, scale={strategy.scale} hides all '
            f'{strategy.num_patches} patches of a '
            f'{strategy.grid[0]}×{strategy.grid[1]} grid in every draw: '
            'use a smaller scale, fewer blocks or smaller patches'
        )
    return visible
