"""Pixels in [-1, 1], the scale of every clip in this project, and encoders of another scale."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def from_bytes(frames: Tensor) -> Tensor:
    """uint8 frames of any shape to [-1, 1], as the data preprocessors of all configs do."""
    return frames.float() / 127.5 - 1


def to_bytes(clip: Tensor) -> Tensor:
    """Pixels in [-1, 1] of any shape to uint8; what lies outside is cut off."""
    return ((clip.float().clamp(-1, 1) + 1) * 127.5).round().byte()


class PixelNorm(nn.Module):
    """Takes clips in [-1, 1] to the scale an encoder was trained on.

    Part of the encoder, so that every config, probe and tool may hand the same clips to any of
    them.

    Args:
        mean: per colour, of values in [0, 1].
        std: per colour, of values in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(
                f'mean={list(mean)} and std={list(std)} must be three numbers each, std above 0'
            )
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1, 1), persistent=False)

    def forward(self, clip: Tensor) -> Tensor:
        """``(B, 3, T_video, height, width)`` in [-1, 1] to ``(value - mean) / std``."""
        return (clip.add(1).mul(0.5) - self.mean) / self.std
