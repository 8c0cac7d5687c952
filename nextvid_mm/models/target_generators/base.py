"""What a generation target is: one object owns encode, normalise, denormalise and decode."""

from __future__ import annotations

from abc import abstractmethod

import torch
from mmengine.model import BaseModule
from torch import Tensor

from nextvid_mm.layers import TokenGrid


class TargetGenerator(BaseModule):
    """Turns a clip into clean targets h1 on the encoder's token grid (arXiv 2512.21004, §3.3).

    Frozen: no parameter gets a gradient. Subclasses implement ``encode`` and ``decode``.

    Args:
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        mean: subtracted from encoded values.
        std: divides them, so that targets have about unit variance.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        patch_size: int,
        tubelet_size: int,
        mean: float | list[float] = 0.0,
        std: float | list[float] = 1.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.patch_size, self.tubelet_size = patch_size, tubelet_size
        if min(std if isinstance(std, list) else [std]) <= 0:
            raise ValueError(f'std of {type(self).__name__} must be positive, found {std}')
        self.register_buffer('mean', torch.as_tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer('std', torch.as_tensor(std, dtype=torch.float32), persistent=False)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of a target token."""

    @abstractmethod
    def encode(self, clip: Tensor) -> Tensor:
        """Raw targets ``(B, T, N, C)`` of a clip ``(B, 3, T * tubelet, height, width)``."""

    @abstractmethod
    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Clip in [-1, 1] of raw targets ``(B, T, N, C)`` on the whole ``grid``."""

    def normalize(self, raw: Tensor) -> Tensor:
        """Raw to clean targets."""
        return (raw - self.mean) / self.std

    def denormalize(self, target: Tensor) -> Tensor:
        """Clean targets back to raw ones."""
        return target * self.std + self.mean

    @torch.no_grad()
    def forward(self, clip: Tensor) -> Tensor:
        """Clean targets of frames 1..T-1; the first frame is never a target and is not encoded.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].

        Returns:
            ``(B, T-1, N, C)``.
        """
        return self.normalize(self.encode(clip[:, :, self.tubelet_size :]))

    @torch.no_grad()
    def to_pixels(self, target: Tensor, grid: TokenGrid) -> Tensor:
        """Clip in [-1, 1] of clean targets ``(B, T, N, C)`` on the whole ``grid``."""
        return self.decode(self.denormalize(target), grid).clamp(-1, 1)
