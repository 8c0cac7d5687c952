"""Random tube masks, as masked autoencoders of video use them."""

import numpy as np
from torch import Tensor

from nextvid_mm.datasets.transforms.masking import FrameIsolatedMasking, Grid, split_mask
from nextvid_mm.registry import TRANSFORMS


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
