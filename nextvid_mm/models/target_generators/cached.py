"""Targets that were computed before the run."""

from __future__ import annotations

import torch
from torch import Tensor

from nextvid_mm.layers import ClipBatch, TokenGrid
from nextvid_mm.registry import MODELS

from .base import TargetGenerator

ADVICE = (
    'CachedLatentTarget only hands on the targets of a batch; use the config with the target '
    'generator that was cached to encode clips or show pictures (the trained weights fit it)'
)


@MODELS.register_module()
class CachedLatentTarget(TargetGenerator):
    """Takes clean targets from the batches of a ``CachedMixtureDataset``.

    Args:
        channels: channels of a target token, as cached.
        patch_size: pixels per side of an encoder patch.
        tubelet_size: video frames per encoder token.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        channels: int,
        patch_size: int = 16,
        tubelet_size: int = 2,
        init_cfg: dict | None = None,
    ):
        super().__init__(patch_size, tubelet_size, init_cfg=init_cfg)
        self._channels = channels

    @property
    def channels(self) -> int:
        """Channels of a target token."""
        return self._channels

    def forward(self, clip: Tensor, batch: ClipBatch | None = None, first: int = 1) -> Tensor:
        """Clean targets ``(B, T-1, N, C)`` of the batch, in float32.

        Raises:
            ValueError: if the batch has no targets, or some that do not fit the clips.
        """
        if batch is None or first != 1:
            raise ValueError(ADVICE)
        if batch.target is None:
            raise ValueError(
                'CachedLatentTarget found a batch without targets: set '
                'train_dataloader.dataset.type=CachedMixtureDataset'
            )
        grid = TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)
        expected = (grid.tubelets - 1, grid.patches, self.channels)
        target = batch.target
        if target.shape[1] == 1:  # clips that are one picture are stored once
            target = target.expand(-1, grid.tubelets - 1, -1, -1)
        if tuple(target.shape[1:]) != expected:
            raise ValueError(
                f'the cached target of {batch.info[0].get("path")} has shape '
                f'{tuple(target.shape[1:])}, but its clip and channels={self.channels} of '
                f'CachedLatentTarget need {expected}'
            )
        return target.to(clip.device, torch.float32)

    def encode(self, clip: Tensor) -> Tensor:
        """Not possible.

        Raises:
            ValueError: always.
        """
        raise ValueError(ADVICE)

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Not possible.

        Raises:
            ValueError: always.
        """
        raise ValueError(ADVICE)
