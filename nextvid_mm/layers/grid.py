"""Where tokens are: the regular space-time grid every tensor of the project lives on.

`TokenGrid` says how many there are, `patchify` and `TubeletEmbed` make them of pixels, and
`ClipBatch` is what comes with the pixels of a batch, as tensors.

Shape legend: B clips, T tubelets, H and W patches, N patches per tubelet, P values per
patch, K visible and M queried patches, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

PATCHES = 'b c (t dt) (h dh) (w dw) -> b t (h w) (c dt dh dw)'
CLIP = 'b t (h w) (c dt dh dw) -> b c (t dt) (h dh) (w dw)'
# Odd 64-bit constant: keeps the draws of the masking strategies of one clip apart.
STRATEGY_SEED = 0x9E3779B97F4A7C15


@dataclass(frozen=True)
class TokenGrid:
    """The full grid of a clip, in tokens.

    Attributes:
        tubelets: time steps T.
        height: patches along the image height.
        width: patches along the image width.
    """

    tubelets: int
    height: int
    width: int

    @property
    def patches(self) -> int:
        """Number of patches in one tubelet (H * W)."""
        return self.height * self.width

    def with_tubelets(self, tubelets: int) -> TokenGrid:
        """The same spatial grid over another number of tubelets."""
        return TokenGrid(tubelets, self.height, self.width)

    @classmethod
    def of_clip(cls, shape: torch.Size, patch_size: int, tubelet_size: int) -> TokenGrid:
        """Grid of a clip tensor ``(..., T_video, height_px, width_px)``.

        Raises:
            ValueError: if frames or pixels do not divide into whole tubelets and patches.
        """
        frames, height, width = shape[-3:]
        if frames % tubelet_size:
            raise ValueError(
                f'a clip of {frames} video frames does not divide into tubelets of tubelet_size='
                f'{tubelet_size} frames; use a multiple of {tubelet_size} (num_frames of the stage)'
            )
        if height % patch_size or width % patch_size:
            raise ValueError(
                f'a clip of {height}x{width} px does not divide into patches of patch_size='
                f'{patch_size} px; use multiples of {patch_size} (scale of Resize and crops)'
            )
        return cls(frames // tubelet_size, height // patch_size, width // patch_size)


def gather_patches(tokens: Tensor, index: Tensor | None, frames: int | None = None) -> Tensor:
    """Keep the same spatial positions of every tubelet.

    Args:
        tokens: ``(B, T, N, C)``.
        index: ``(B, K)`` patch numbers inside a tubelet, or None to keep all.
        frames: keep only the first so many tubelets; None keeps all T.

    Returns:
        ``(B, frames, K, C)``.
    """
    B, T, N, C = tokens.shape
    kept = T if frames is None else frames
    if index is None:
        return tokens if kept == T else tokens[:, :kept]
    # Whole rows by their number: many times faster on a CPU than `gather`, which looks up every
    # channel.
    start = torch.arange(B * T, device=index.device).view(B, T, 1)[:, :kept] * N
    rows = (start + index[:, None]).flatten()
    return tokens.flatten(0, 2).index_select(0, rows).view(B, kept, index.shape[1], C)


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


class BatchMask(NamedTuple):
    """One masking strategy over a batch."""

    visible: Tensor | None
    """``(B, K)`` patch numbers inside a tubelet that the encoder sees; None for all."""
    queried: Tensor | None
    """``(B, M)`` patch numbers that are predicted; None for all."""


class ClipBatch(NamedTuple):
    """Masks, seeds and cached targets of B clips."""

    masks: tuple[BatchMask, ...]
    """One for each masking strategy; empty where nothing is masked."""
    seeds: NDArray[np.int64] | None
    """``(B,)``, below 2**63. An array: generators are seeded by the host, so it stays there. None:
    what is drawn comes from the global generator."""
    moving: Tensor
    """Numbers of the clips whose frames differ, int64."""
    still: Tensor
    """Numbers of the clips that are one picture all the time, int64."""
    target: Tensor | None
    """Cached targets ``(B, T-1, N, C)``; ``(B, 1, N, C)`` if all clips are still. Mostly None."""
    info: Sequence[dict[str, Any]]
    """What is known of each clip (``path``, ``source``, ``position``), for hooks and messages."""

    @classmethod
    def of(
        cls,
        info: Sequence[dict[str, Any]],
        masks: Sequence[BatchMask] = (),
        target: Tensor | None = None,
    ) -> ClipBatch:
        """A batch from what its clips say of themselves.

        Args:
            info: for each clip; ``sample_seed`` and ``static`` are read here.
            masks: for each strategy.
            target: cached targets.
        """
        seeded = all('sample_seed' in clip for clip in info)
        static = torch.tensor([bool(clip.get('static', False)) for clip in info], dtype=torch.bool)
        return cls(
            tuple(masks),
            np.array([int(c['sample_seed']) for c in info], dtype=np.int64) if seeded else None,
            (~static).nonzero().flatten(),
            static.nonzero().flatten(),
            target,
            list(info),
        )

    def seeds_of(self, strategy: int) -> NDArray[np.int64] | None:
        """Seeds ``(B,)`` of the draws under one masking strategy."""
        return None if self.seeds is None else self.seeds ^ (STRATEGY_SEED * strategy % 2**63)

    def take(self, chosen: slice | Sequence[int]) -> ClipBatch:
        """The batch of some of the clips."""
        rows = range(len(self.info))[chosen] if isinstance(chosen, slice) else chosen
        index = torch.tensor(list(rows), dtype=torch.long)
        masks = [
            BatchMask(*(part if part is None else part[index.to(part.device)] for part in mask))
            for mask in self.masks
        ]
        target = self.target if self.target is None else self.target[index.to(self.target.device)]
        taken = self.of([self.info[row] for row in rows], masks, target)
        device = self.moving.device
        return taken._replace(moving=taken.moving.to(device), still=taken.still.to(device))
