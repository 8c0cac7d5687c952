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

    Added key: ``masks``, a list over strategies of ``dict(visible=LongTensor (K,),
    hidden=LongTensor (N - K,))``: sorted indices of patches in a frame, row by row.

    Args:
        img_size: Size of the frames in pixels: one number, or (height, width).
        patch_size: Side of a patch in pixels.
        strategies: Per strategy a dict of ``num_blocks``, ``scale`` (area of a block as a share of
            the frame) and optionally ``num_visible`` (K itself). ``'none'`` is the ablation
            without masking: a single strategy that has *all* patches as visible and *all* as
            hidden, the only case where they overlap.
        aspect_ratio: Range of height / width of the blocks, drawn evenly.
        quantile: Which quantile of the visible counts K is. Lower ones redraw less and hide more.

    Raises:
        ValueError: If the patch does not divide the image, or a strategy hides everything or
            nothing.
    """

    def __init__(
        self,
        img_size: int | Sequence[int],
        patch_size: int,
        strategies: Sequence[Mapping[str, Any]] | str = PAPER_STRATEGIES,
        aspect_ratio: Sequence[float] = (0.75, 1.5),
        quantile: float = 0.1,
    ) -> None:
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if height % patch_size or width % patch_size or min(height, width) < patch_size:
            raise ValueError(
                f'{type(self).__name__}: img_size={height}×{width} is not divisible by '
                f'patch_size={patch_size}'
            )
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
        self.img_size = (height, width)
        self.grid = (height // patch_size, width // patch_size)
        self.strategies: list[BlockStrategy] = []
        self.num_visible: list[int] = []
        for config in configs:
            self._add(dict(config), tuple(aspect_ratio), quantile)

    @property
    def num_patches(self) -> int:
        """Patches of a frame."""
        return self.grid[0] * self.grid[1]

    def _add(
        self, config: dict[str, Any], aspect_ratio: tuple[float, ...], quantile: float
    ) -> None:
        """Add one strategy and settle how many patches it shows."""
        num_visible = config.pop('num_visible', None)
        if set(config) != {'num_blocks', 'scale'}:
            raise ValueError(
                'FrameIsolatedMasking: a strategy has the keys num_blocks, scale and optionally '
                f'num_visible, found {sorted(config)}'
            )
        strategy = BlockStrategy(self.grid, aspect_ratio=aspect_ratio, **config)  # type: ignore[arg-type]
        counts = strategy.survey()
        if num_visible is None:
            num_visible = int(np.quantile(counts, quantile, method='lower'))
        elif not 1 <= num_visible < self.num_patches:
            raise ValueError(
                f'FrameIsolatedMasking: num_visible={num_visible} must leave at least one of '
                f'{self.num_patches} patches visible and one hidden'
            )
        elif num_visible > counts[-1]:
            raise ValueError(
                f'FrameIsolatedMasking: {config} on a {self.grid[0]}×{self.grid[1]} grid leaves '
                f'at most {counts[-1]} patches visible, num_visible={num_visible} cannot be reached'
            )
        self.strategies.append(strategy)
        self.num_visible.append(num_visible)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``masks``, drawn from NumPy's global generator.

        Raises:
            ValueError: If the frames do not have the size the masks are for.
        """
        images = results.get('imgs')
        found = images.shape[-2:] if isinstance(images, np.ndarray) else results.get('img_shape')
        if found is not None and tuple(found) != self.img_size:
            raise ValueError(
                f'{type(self).__name__} has img_size={self.img_size}, the frames are '
                f'{tuple(found)}: resize or crop them before, and put FormatShape before '
                'this transform'
            )
        entropy = np.random.randint(0, 2**32, size=4, dtype=np.uint32)
        results['masks'] = self.sample(np.random.default_rng(entropy))
        return results

    def sample(self, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Draw the masks of one clip.

        Args:
            rng: Source of randomness; the same state gives the same masks.

        Returns:
            What ``results['masks']`` holds.
        """
        if not self.strategies:
            every = torch.arange(self.num_patches)
            return [dict(visible=every, hidden=every.clone())]
        pairs = zip(self.strategies, self.num_visible, strict=True)
        return [split_mask(_draw_exactly(strategy, count, rng)) for strategy, count in pairs]

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(grid={self.grid}, num_visible={self.num_visible}, '
            f'strategies={[(s.num_blocks, s.scale) for s in self.strategies]})'
        )


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
