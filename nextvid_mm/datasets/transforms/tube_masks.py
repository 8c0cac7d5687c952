"""Random tube masks, as masked autoencoders of video use them."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from nextvid_mm.datasets.transforms.masking import FrameIsolatedMasking, split_mask
from nextvid_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class TubeMasking(FrameIsolatedMasking):
    """Hide a fixed share of patches, drawn evenly, the same in every frame (arXiv 2203.12602).

    Adds ``masks`` in the form of ``FrameIsolatedMasking``, with one strategy.

    Args:
        img_size: Size of the frames in pixels: one number, or (height, width).
        patch_size: Side of a patch in pixels.
        ratio: Share of the patches that is hidden; 0.9 as published.

    Raises:
        ValueError: If the patch does not divide the image, or everything or nothing is hidden.
    """

    def __init__(self, img_size: int | Sequence[int], patch_size: int, ratio: float = 0.9) -> None:
        super().__init__(img_size, patch_size, strategies='none')
        self.num_hidden = round(ratio * self.num_patches)
        if not 0 < self.num_hidden < self.num_patches:
            raise ValueError(
                f'TubeMasking: ratio={ratio} hides {self.num_hidden} of {self.num_patches} '
                'patches; at least one must be hidden and one visible'
            )

    def sample(self, rng: np.random.Generator) -> list[dict[str, Tensor]]:
        """Draw the mask of one clip."""
        hidden = np.zeros(self.num_patches, dtype=bool)
        hidden[rng.choice(self.num_patches, self.num_hidden, replace=False)] = True
        return [split_mask(hidden)]

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid={self.grid}, num_hidden={self.num_hidden})'
