"""Where tokens are: the regular space-time grid every tensor of the project lives on.

Shape legend: B batch, T frames (tubelets), H and W patches, N tokens per frame, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenGrid:
    """The full grid of a clip, in tokens.

    Attributes:
        frames: time steps T; one step is one tubelet of video frames.
        height: patches along the image height.
        width: patches along the image width.
    """

    frames: int
    height: int
    width: int

    @property
    def patches(self) -> int:
        """Number of patches in one frame (H * W)."""
        return self.height * self.width

    def with_frames(self, frames: int) -> TokenGrid:
        """The same spatial grid over another number of frames."""
        return TokenGrid(frames, self.height, self.width)

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
    """Keep the same spatial positions of every frame.

    Args:
        tokens: ``(B, T, N, C)``.
        index: ``(B, K)`` patch numbers inside a frame, or None to keep all.
        frames: keep only the first so many frames; None keeps all T.

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
