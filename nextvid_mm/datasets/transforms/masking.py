"""Tube masks that split every frame into visible and hidden patches."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from nextvid_mm.datasets.transforms.block_masks import BlockStrategy
from nextvid_mm.registry import TRANSFORMS

# The paper's two strategies (arXiv 2512.21004, section 4): many small blocks, and two large ones.
PAPER_STRATEGIES = (dict(num_blocks=8, scale=0.15), dict(num_blocks=2, scale=0.7))
Grid = tuple[int, int]  # patches of a frame: rows, columns


@TRANSFORMS.register_module()
class FrameIsolatedMasking(BaseTransform):
    """Draw one mask per strategy; a mask is the same for every frame of the clip (a tube).

    **Fixed counts.** Unions of random blocks leave a different number of patches visible each
    time, but a batch needs one number. This transform is the one place where that is settled: each
    strategy shows exactly K patches, the same for every sample, process and run. Blocks are drawn
    again until they leave K, so that what is hidden is blocks and nothing else. Where K is too rare
    for that (a small grid, a large one), the closest of many draws is adjusted at the rim of its
    blocks, and the log says so at the first clip. (V-JEPA cuts both sets of a sample to the
    smallest of its batch, in raster order over the whole clip: the last time steps lose most.)

    The grid of patches is that of the frames it meets; each grid has its own K.

    Required keys: the frames, and ``position`` (set by ``MixtureDataset``) with ``unmasked_clips``.
    Added key: ``masks``, a list over strategies of ``dict(visible=LongTensor (K,),
    hidden=LongTensor (N - K,))``: sorted indices of patches in a frame, row by row.

    Args:
        patch_size: Side of a patch in pixels.
        strategies: Per strategy a dict of ``num_blocks``, ``scale`` (area of a block as a share of
            the frame) and optionally ``num_visible`` (K itself). With ``num_blocks=0``,
            whatever the scale, *all* patches are visible and *all* are hidden, the only case where
            they overlap. ``'none'``, the ablation without masking, has this one strategy.
        aspect_ratio: Range of height / width of the blocks, drawn evenly.
        quantile: Where K is not given, it is this quantile of the numbers that the block sampler
            leaves visible; 0.5 shows as many as the sampler does.
        rim: Draws that leave up to so many patches more or fewer than K are taken, too, and
            adjusted at the rim of their blocks. 0: exact draws only, of which there are few where
            blocks are large.
        unmasked_clips: So many clips from the start of a run are shown whole, as with ``'none'``:
            masks warm up. A multiple of the batch size, or one batch would hold both kinds.

    Raises:
        ValueError: If a strategy hides nothing, or a value is out of its range.
    """

    def __init__(
        self,
        patch_size: int,
        strategies: Sequence[Mapping[str, Any]] | str = PAPER_STRATEGIES,
        aspect_ratio: Sequence[float] = (0.75, 1.5),
        quantile: float = 0.1,
        rim: int = 0,
        unmasked_clips: int = 0,
    ) -> None:
        if unmasked_clips < 0:
            raise ValueError(
                f'FrameIsolatedMasking: unmasked_clips={unmasked_clips} is a number of clips: '
                '0 or more'
            )
        if not 0 <= quantile <= 1:
            raise ValueError(f'FrameIsolatedMasking: quantile={quantile} must lie in [0, 1]')
        if rim < 0:
            raise ValueError(f'FrameIsolatedMasking: rim={rim} is a number of patches: 0 or more')
        if isinstance(strategies, str) and strategies == 'none':
            configs: Sequence[Mapping[str, Any]] = [dict(num_blocks=0, scale=0.0)]
        elif strategies and not isinstance(strategies, str):
            configs = strategies
        else:
            raise ValueError(
                f'FrameIsolatedMasking: strategies={strategies!r} must be a list of dicts, or '
                "'none' to mask nothing"
            )
        self.patch_size, self.quantile, self.rim = patch_size, quantile, rim
        self.unmasked_clips = unmasked_clips
        self._configs = [dict(config, aspect_ratio=tuple(aspect_ratio)) for config in configs]
        self._per_grid: dict[Grid, list[tuple[BlockStrategy | None, int]]] = {}
        for config in self._configs:
            _check_strategy(config)

    def strategies(self, grid: Grid) -> list[tuple[BlockStrategy | None, int]]:
        """The block sampler of each strategy on a grid, and how many patches it leaves visible.

        Args:
            grid: Patches of a frame (rows, columns).

        Returns:
            One pair per strategy; its sampler is None where nothing is masked.

        Raises:
            ValueError: If blocks do not fit the grid, hide everything there, or never leave about
                ``num_visible`` patches.
        """
        if grid not in self._per_grid:
            self._per_grid[grid] = [
                _settle(dict(config), grid, self.quantile)
                if config['num_blocks']
                else (None, grid[0] * grid[1])
                for config in self._configs
            ]
        return self._per_grid[grid]

    def num_visible(self, grid: Grid) -> list[int]:
        """Visible patches of each strategy on a grid; all of them without masking."""
        return [count for _, count in self.strategies(grid)]

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
        if self.unmasked_clips and results['position'] < self.unmasked_clips:
            results['masks'] = [show_all(grid)]
            return results
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
        return [
            show_all(grid)
            if strategy is None
            else split_mask(strategy.draw_exactly(num_visible, rng, self.rim))
            for strategy, num_visible in self.strategies(grid)
        ]

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
    num_visible = config.get('num_visible')
    if num_visible is not None and (
        isinstance(num_visible, bool) or num_visible != int(num_visible)
    ):
        raise ValueError(
            f'FrameIsolatedMasking: num_visible={num_visible!r} must be a whole number of patches'
        )
    if config['num_blocks'] == 0:
        if num_visible is not None:
            raise ValueError(
                f'FrameIsolatedMasking: num_visible={num_visible} with num_blocks=0, which shows '
                'every patch: leave it out'
            )
        return
    BlockStrategy((1, 1), **{key: config[key] for key in set(config) - {'num_visible'}})


def _settle(config: dict[str, Any], grid: Grid, quantile: float) -> tuple[BlockStrategy, int]:
    """Build one strategy for a grid and settle how many patches it shows."""
    num_visible, num_patches = config.pop('num_visible', None), grid[0] * grid[1]
    strategy = BlockStrategy(grid, **config)
    counts = strategy.survey()
    if num_visible is None:
        num_visible = int(np.quantile(counts, quantile, method='lower'))
    if not 1 <= num_visible < num_patches:
        raise ValueError(
            f'FrameIsolatedMasking: num_visible={num_visible} must leave at least one of '
            f'{num_patches} patches visible and one hidden'
        )
    if not counts[0] <= num_visible <= counts[-1]:
        raise ValueError(
            f'FrameIsolatedMasking: {strategy} on a {grid[0]}×{grid[1]} grid leaves {counts[0]} to '
            f'{counts[-1]} patches visible, num_visible={num_visible} cannot be reached'
        )
    if not strategy.is_likely(num_visible):
        _say_rare(strategy, num_visible)
    return strategy, num_visible


def _say_rare(strategy: BlockStrategy, num_visible: int) -> None:
    """Log that masks are adjusted, once per process of the first rank's first worker."""
    worker = get_worker_info()
    if is_main_process() and (worker is None or worker.id == 0):
        rows, columns = strategy.grid
        print_log(
            f'FrameIsolatedMasking: {strategy} leaves exactly {num_visible} of {rows}×{columns} '
            f'patches visible in {strategy.chance_of(num_visible):.2%} of its draws: the closest '
            'of many draws is adjusted at the rim of its blocks',
            'current',
            logging.WARNING,
        )


def show_all(grid: Grid) -> dict[str, Tensor]:
    """The mask that shows and asks for every patch."""
    every = torch.arange(grid[0] * grid[1])
    return dict(visible=every, hidden=every.clone())


def split_mask(hidden: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Turn a mask of any shape into sorted indices of visible and hidden patches."""
    return dict(
        visible=torch.from_numpy(np.flatnonzero(~hidden)),
        hidden=torch.from_numpy(np.flatnonzero(hidden)),
    )


@TRANSFORMS.register_module()
class TubeMasking(FrameIsolatedMasking):
    """Hide a fixed share of patches, drawn evenly, the same in every frame (arXiv 2203.12602).

    Adds ``masks`` in the form of ``FrameIsolatedMasking``, with one strategy.

    Args:
        patch_size: Side of a patch in pixels.
        ratio: Share of the patches that is hidden; 0.9 as published.

    Raises:
        ValueError: If everything or nothing is hidden.
    """

    def __init__(self, patch_size: int, ratio: float = 0.9) -> None:
        super().__init__(patch_size, strategies='none')
        if not 0 < ratio < 1:
            raise ValueError(f'TubeMasking: ratio={ratio} must lie between 0 and 1')
        self.ratio = ratio

    def num_visible(self, grid: Grid) -> list[int]:
        """Visible patches on a grid."""
        patches = grid[0] * grid[1]
        hidden = round(self.ratio * patches)
        if not 0 < hidden < patches:
            raise ValueError(
                f'TubeMasking: ratio={self.ratio} hides {hidden} of {patches} patches; at least '
                'one must be hidden and one visible'
            )
        return [patches - hidden]

    def sample(self, grid: Grid, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Draw the mask of one clip."""
        hidden = np.zeros(grid[0] * grid[1], dtype=bool)
        count = hidden.size - self.num_visible(grid)[0]
        hidden[rng.choice(hidden.size, count, replace=False)] = True
        return [split_mask(hidden)]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(patch_size={self.patch_size}, ratio={self.ratio})'
