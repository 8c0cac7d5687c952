"""Pixel normalisation of encoders that were trained on another scale than this project's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


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
