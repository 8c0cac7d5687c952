"""Pixels as generation targets."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate

from nextvid_mm.layers import TokenGrid, patchify, unpatchify
from nextvid_mm.registry import MODELS

from .base import TargetGenerator


@MODELS.register_module()
class PixelTarget(TargetGenerator):
    """The pixels of the cube a token covers, optionally pooled.

    A flow decoder cannot learn targets with more channels than it is wide: their noise does not
    pass through it. Pooling brings a 16x16x2 patch from 1,536 values down to a size that fits.

    Args:
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        pool: side of the squares of pixels that are averaged; divides ``patch_size``.
        norm_pix: normalise every colour of a cube by its own mean and standard deviation, as
            VideoMAE (arXiv 2203.12602) does; such targets cannot be turned back into pixels.
        residual: targets are the pixels minus those of the tubelet before, 0 where nothing moves:
            a copy of what was seen explains none of it. They cannot be turned back into pixels,
            and the first tubelet has none. Their spread is smaller: set ``std``.
        mean: subtracted from pixels in [-1, 1].
        std: divides them.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        patch_size: int = 16,
        tubelet_size: int = 2,
        pool: int = 1,
        norm_pix: bool = False,
        mean: float = 0.0,
        std: float = 0.5,
        residual: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(patch_size, tubelet_size, mean, std, init_cfg)
        if patch_size % pool:
            raise ValueError(f'pool={pool} of PixelTarget does not divide patch_size={patch_size}')
        self.pool, self.norm_pix, self.residual = pool, norm_pix, residual
        if residual:
            self.lead_frames = tubelet_size

    @property
    def channels(self) -> int:
        """3 colours x frames x pooled pixels of a patch."""
        return 3 * self.tubelet_size * (self.patch_size // self.pool) ** 2

    def encode(self, clip: Tensor) -> Tensor:
        """Pooled pixels ``(B, T, N, C)``, or how they have changed since the tubelet before."""
        if self.pool > 1:
            clip = avg_pool3d(clip, (1, self.pool, self.pool))
        tokens = patchify(clip, self.patch_size // self.pool, self.tubelet_size)
        return tokens[:, 1:] - tokens[:, :-1] if self.residual else tokens

    def normalize(self, raw: Tensor) -> Tensor:
        """By the cube's own statistics, colour by colour, or by the fixed ones."""
        if not self.norm_pix:
            return super().normalize(raw)
        colours = raw.unflatten(-1, (3, -1))
        centred = colours - colours.mean(-1, keepdim=True)
        return (centred / (colours.var(-1, keepdim=True) + 1e-6).sqrt()).flatten(-2)

    def denormalize(self, target: Tensor) -> Tensor:
        """Inverse of ``normalize``.

        Raises:
            ValueError: with ``norm_pix`` or ``residual``, as the statistics of a patch, or the
                tubelet before, are not kept.
        """
        if self.residual:
            raise ValueError(
                'residual targets (residual=True of PixelTarget) cannot be turned back into '
                'pixels; train with residual=False to generate pictures'
            )
        if self.norm_pix:
            raise ValueError(
                'targets normalised per patch (norm_pix=True of PixelTarget) cannot be turned '
                'back into pixels; train with norm_pix=False to generate pictures'
            )
        return super().denormalize(target)

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Clip at full size; pooled pixels are interpolated."""
        clip = unpatchify(raw, grid, self.patch_size // self.pool, self.tubelet_size)
        if self.pool == 1:
            return clip
        return interpolate(
            clip, scale_factor=(1, self.pool, self.pool), mode='trilinear', align_corners=False
        )
