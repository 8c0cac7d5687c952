"""What a generation target is: one object owns encode, normalise, denormalise and decode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from nextvid_mm.layers import ClipBatch, TokenGrid


class TargetGenerator(BaseModule):
    """Turns a clip into clean targets h1 on the encoder's token grid (arXiv 2512.21004, §3.3).

    Frozen: no parameter gets a gradient. Subclasses implement ``encode`` and ``decode``.

    Args:
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        mean: subtracted from encoded values: one number, or one per latent channel. A token of
            several latents (frames, squares of a patch) lists them one after another.
        std: divides them, so that targets have about unit variance.
        init_cfg: mmengine initialisation config.
    """

    # Video frames before the second tubelet that ``encode`` needs; causal video codecs set it.
    lead_frames = 0

    def __init__(
        self,
        patch_size: int,
        tubelet_size: int,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.patch_size, self.tubelet_size = patch_size, tubelet_size
        if min(std if isinstance(std, Sequence) else [std]) <= 0:
            raise ValueError(f'std of {type(self).__name__} must be positive, found {std}')
        values = [torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in (mean, std)]
        # One of them may be given for all channels, the other for each.
        for name, value in zip(('mean', 'std'), torch.broadcast_tensors(*values), strict=True):
            self.register_buffer(name, value.clone(), persistent=False)

    @property
    @abstractmethod
    def channels(self) -> int:
        """Channels of a target token."""

    @abstractmethod
    def encode(self, clip: Tensor) -> Tensor:
        """Raw targets ``(B, T, N, C)`` of a clip ``(B, 3, lead + T * tubelet, height, width)``."""

    @abstractmethod
    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Clip in [-1, 1] of raw targets ``(B, T, N, C)`` on the whole ``grid``."""

    def encode_static(self, clip: Tensor) -> Tensor:
        """What ``encode`` gives for clips of identical frames, from one tubelet of them."""
        frames = (clip.shape[2] - self.lead_frames) // self.tubelet_size
        first = self.encode(clip[:, :, : self.lead_frames + self.tubelet_size])
        return first.expand(-1, frames, -1, -1)

    def normalize(self, raw: Tensor) -> Tensor:
        """Raw to clean targets."""
        parts = raw.unflatten(-1, (-1, self.mean.numel()))
        return ((parts - self.mean) / self.std).flatten(-2)

    def denormalize(self, target: Tensor) -> Tensor:
        """Clean targets back to raw ones."""
        parts = target.unflatten(-1, (-1, self.mean.numel()))
        return (parts * self.std + self.mean).flatten(-2)

    @torch.no_grad()
    def forward(self, clip: Tensor, batch: ClipBatch | None = None, first: int = 1) -> Tensor:
        """Clean targets of the tubelets ``first``..T-1; earlier ones are not encoded.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            batch: says which clips are the same picture all the time: that is encoded once.
            first: 1 where the first tubelet is never a target, 0 where it is.

        Returns:
            ``(B, T - first, N, C)``.
        """
        clip = clip[:, :, max(0, first * self.tubelet_size - self.lead_frames) :]
        if batch is None or not len(batch.still):
            return self.normalize(self.encode(clip))
        if not len(batch.moving):
            return self.normalize(self.encode_static(clip))
        moving = self.encode(clip[batch.moving])
        raw = moving.new_empty(len(clip), *moving.shape[1:])
        raw[batch.moving] = moving
        raw[batch.still] = self.encode_static(clip[batch.still]).to(raw.dtype)
        return self.normalize(raw)

    @torch.no_grad()
    def to_pixels(self, target: Tensor, grid: TokenGrid) -> Tensor:
        """Clip in [-1, 1] of clean targets ``(B, T, N, C)`` on the whole ``grid``."""
        return self.decode(self.denormalize(target), grid).clamp(-1, 1)
