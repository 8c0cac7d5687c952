"""From pixels to tokens and back.

Shape legend: B batch, T frames (tubelets), N patches per frame, P values per patch.
"""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from .grid import TokenGrid

PATCHES = 'b c (t dt) (h dh) (w dw) -> b t (h w) (c dt dh dw)'
CLIP = 'b t (h w) (c dt dh dw) -> b c (t dt) (h dh) (w dw)'


def patchify(clip: Tensor, patch_size: int, tubelet_size: int) -> Tensor:
    """Cut a clip ``(B, 3, T_video, height, width)`` into flat patches ``(B, T, N, P)``.

    A patch lists its values channel first, then frame, row, column: the order of the kernel of a
    3D convolution, so that published convolution weights load as linear ones.
    """
    TokenGrid.of_clip(clip.shape, patch_size, tubelet_size)  # a clear error before einops' own
    return rearrange(clip, PATCHES, dt=tubelet_size, dh=patch_size, dw=patch_size)


def unpatchify(patches: Tensor, grid: TokenGrid, patch_size: int, tubelet_size: int) -> Tensor:
    """Put patches ``(B, T, N, P)`` back together as a clip ``(B, C, T_video, height, width)``."""
    return rearrange(
        patches, CLIP, h=grid.height, w=grid.width, dt=tubelet_size, dh=patch_size, dw=patch_size
    )


class TubeletEmbed(nn.Linear):
    """Linear embedding of flat patches.

    A linear layer instead of a strided 3D convolution, so that only the patches an encoder sees are
    embedded.

    Args:
        patch_size: pixels per side.
        tubelet_size: video frames per token.
        embed_dims: output channels.
        in_channels: image channels.
    """

    def __init__(self, patch_size: int, tubelet_size: int, embed_dims: int, in_channels: int = 3):
        super().__init__(in_channels * tubelet_size * patch_size**2, embed_dims)
