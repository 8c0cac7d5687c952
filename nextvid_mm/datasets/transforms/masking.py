"""Tube masks that split every frame into visible and hidden patches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray
from torch import Tensor

from nextvid_mm.datasets.transforms.block_masks import BlockStrategy
from nextvid_mm.registry import TRANSFORMS

# The paper's two strategies (arXiv 2512.21004, section 4): many small blocks, and two large ones.
PAPER_STRATEGIES = (dict(num_blocks=8, scale=0.15), dict(num_blocks=2, scale=0.7))
_MAX_REDRAWS = 20
Grid = tuple[int, int]  # patches of a frame: rows, columns


@TRANSFORMS.register_module()
class FrameIsolatedMasking(BaseTransform):
    """Draw one mask per strategy; a mask is the same for every frame of the clip (a tube).

    **Fixed counts.** Unions of random blocks leave a different number of patches visible each
    time, but a batch needs one number. This transform is the one place where that is settled: each
    strategy keeps exactly K visible patches, by default the ``quantile`` of the numbers its own
    block sampler leaves. A draw that leaves fewer is drawn again (after 20 failures, random hidden
    patches are shown); of a draw that leaves more, random visible patches are hidden in addition.
    (V-JEPA cuts both sets to the smallest of the batch, which drops patches and ties a sample to
    its batch; a low quantile shows about as many.) Visible and hidden patches therefore always
    partition the frame, with the same sizes for every sample, process and run.

    The grid of patches is that of the frames it meets; each grid has its own K.

    Added key: ``masks``, a list over strategies of ``dict(visible=LongTensor (K,),
    hidden=LongTensor (N - K,))``: sorted indices of patches in a frame, row by row.

    Args:
        patch_size: Side of a patch in pixels.
        strategies: Per strategy a dict of ``num_blocks``, ``scale`` (area of a block as a share of
            the frame) and optionally ``num_visible`` (K itself). ``'none'`` is the ablation
            without masking: a single strategy that has *all* patches as visible and *all* as
            hidden, the only case where they overlap.
        aspect_ratio: Range of height / width of the blocks, drawn evenly.
        quantile: Which quantile of the visible counts K is. Lower ones redraw less and hide more.

    Raises:
        ValueError: If a strategy hides nothing, or a value is out of its range.
    """

    def __init__(
        self,
        patch_size: int,
        strategies: Sequence[Mapping[str, Any]] | str = PAPER_STRATEGIES,
        aspect_ratio: Sequence[float] = (0.75, 1.5),
        quantile: float = 0.1,
    ) -> None:
        if not 0 <= quantile <= 1:
            raise ValueError(f'FrameIsolatedMasking: quantile={quantile} must lie in [0, 1]')
        if isinstance(strategies, str) and strategies == 'none':
            configs: Sequence[Mapping[str, Any]] = ()
        elif strategies and not isinstance(strategies, str):
            configs = strategies
        else:
            raise ValueError(
                f'FrameIsolatedMasking: strategies={strategies!r} must be a list of dicts, or '
                "'none' to mask nothing"
            )
        self.patch_size, self.quantile = patch_size, quantile
        self._configs = [dict(config, aspect_ratio=tuple(aspect_ratio)) for config in configs]
        self._per_grid: dict[Grid, list[tuple[BlockStrategy, int]]] = {}
        for config in self._configs:
            _check_strategy(config)

    def strategies(self, grid: Grid) -> list[tuple[BlockStrategy, int]]:
        """The block sampler of each strategy on a grid, and how many patches it leaves visible.

        Args:
            grid: Patches of a frame (rows, columns).

        Returns:
            One pair per strategy; empty without masking.

        Raises:
            ValueError: If a strategy hides everything there, or cannot show ``num_visible``.
        """
        if grid not in self._per_grid:
            self._per_grid[grid] = [
                _settle(dict(config), grid, self.quantile) for config in self._configs
            ]
        return self._per_grid[grid]

    def num_visible(self, grid: Grid) -> list[int]:
        """Visible patches of each strategy on a grid; all of them without masking."""
        return [count for _, count in self.strategies(grid)] or [grid[0] * grid[1]]

    def grid_of(self, size: Sequence[int]) -> Grid:
        """Patches (rows, columns) of frames of a size (height, width) in pixels.

        Raises:
            ValueError: If they do not divide into patches.
        """
        height, width = size
        patch = self.patch_size
        if height % patch or width % patch or min(height, width) < patch:
            raise ValueError(
                f'{type(self).__name__}: frames of {height}×{width} pixels do not divide into '
                f'patches of patch_size={patch}: resize or crop them before this transform to '
                f'multiples of {patch}, or change patch_size here and in the model'
            )
        return height // patch, width // patch

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``masks``, drawn from NumPy's global generator.

        Raises:
            ValueError: If the frames have no common size, or do not divide into patches.
        """
        images = results.get('imgs')
        size = images.shape[-2:] if isinstance(images, np.ndarray) else results.get('img_shape')
        if size is None:
            raise ValueError(
                f'{type(self).__name__} meets no frames: put mmaction.FormatShape before it'
            )
        grid = self.grid_of(size)
        entropy = np.random.randint(0, 2**32, size=4, dtype=np.uint32)
        results['masks'] = self.sample(grid, np.random.default_rng(entropy))
        return results

    def sample(self, grid: Grid, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Draw the masks of one clip.

        Args:
            grid: Patches of a frame (rows, columns).
            rng: Source of randomness; the same state gives the same masks.

        Returns:
            What ``results['masks']`` holds.
        """
        if not self._configs:
            every = torch.arange(grid[0] * grid[1])
            return [dict(visible=every, hidden=every.clone())]
        drawn = (_draw_exactly(*strategy, rng) for strategy in self.strategies(grid))
        return [split_mask(hidden) for hidden in drawn]

    def __repr__(self) -> str:
        pairs = [(config['num_blocks'], config['scale']) for config in self._configs]
        return f'{type(self).__name__}(patch_size={self.patch_size}, strategies={pairs})'


def _check_strategy(config: Mapping[str, Any]) -> None:
    """Refuse a wrong key or value at once, not at the first clip."""
    if set(config) - {'num_visible'} != {'num_blocks', 'scale', 'aspect_ratio'}:
        raise ValueError(
            'FrameIsolatedMasking: a strategy has the keys num_blocks, scale and optionally '
            f'num_visible, found {sorted(set(config) - {"aspect_ratio"})}'
        )
    BlockStrategy((1, 1), **{key: config[key] for key in set(config) - {'num_visible'}})


def _settle(config: dict[str, Any], grid: Grid, quantile: float) -> tuple[BlockStrategy, int]:
    """Build one strategy for a grid and settle how many patches it shows."""
    num_visible, num_patches = config.pop('num_visible', None), grid[0] * grid[1]
    strategy = BlockStrategy(grid, **config)
    counts = strategy.survey()
    if num_visible is None:
        return strategy, int(np.quantile(counts, quantile, method='lower'))
    if not 1 <= num_visible < num_patches:
        raise ValueError(
            f'FrameIsolatedMasking: num_visible={num_visible} must leave at least one of '
            f'{num_patches} patches visible and one hidden'
        )
    if num_visible > counts[-1]:
        raise ValueError(
            f'FrameIsolatedMasking: num_blocks={strategy.num_blocks}, scale={strategy.scale} on a '
            f'{grid[0]}×{grid[1]} grid leaves at most {counts[-1]} patches visible, '
            f'num_visible={num_visible} cannot be reached'
        )
    return strategy, num_visible


def _draw_exactly(
    strategy: BlockStrategy, num_visible: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw a flat mask ``(N,)`` that leaves exactly ``num_visible`` patches visible."""
    for _ in range(_MAX_REDRAWS):
        hidden = strategy.draw(rng).reshape(-1)
        if hidden.size - hidden.sum() >= num_visible:
            break
    surplus = int(hidden.size - hidden.sum()) - num_visible
    # Hide the surplus or, if even the last draw left too few, show what is lacking.
    candidates = np.flatnonzero(~hidden if surplus > 0 else hidden)
    hidden[rng.choice(candidates, size=abs(surplus), replace=False)] = surplus > 0
    return hidden


def split_mask(hidden: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Turn a flat mask into sorted indices of visible and hidden patches."""
    return dict(
        visible=torch.from_numpy(np.flatnonzero(~hidden)),
        hidden=torch.from_numpy(np.flatnonzero(hidden)),
    )
