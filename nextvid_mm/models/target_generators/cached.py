"""Targets that were computed before the run."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .base import TargetGenerator

ADVICE = (
    'CachedLatentTarget only hands on the targets in data samples; use the config with the target '
    'generator that was cached to encode clips or show pictures (the trained weights fit it)'
)


@MODELS.register_module()
class CachedLatentTarget(TargetGenerator):
    """Takes clean targets from the data samples of a ``CachedMixtureDataset``.

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

    def targets_of(self, clip: Tensor, data_samples: list[Any]) -> Tensor:
        """Clean targets ``(B, T-1, N, C)`` of the data samples, in float32.

        Raises:
            ValueError: if a sample has no target, or one that does not fit the clip.
        """
        grid = TokenGrid.of_clip(clip.shape, self.patch_size, self.tubelet_size)
        expected = (grid.frames - 1, grid.patches, self.channels)
        targets = []
        for sample in data_samples:
            if 'target' not in sample:
                raise ValueError(
                    'CachedLatentTarget found a data sample without a target: set '
                    'train_dataloader.dataset.type=CachedMixtureDataset'
                )
            target = sample.target
            if len(target) == 1:  # static clips are stored once
                target = target.expand(grid.frames - 1, -1, -1)
            if tuple(target.shape) != expected:
                raise ValueError(
                    f'the cached target of {sample.metainfo.get("path")} has shape '
                    f'{tuple(target.shape)}, but its clip and channels={self.channels} of '
                    f'CachedLatentTarget need {expected}'
                )
            targets.append(target)
        return torch.stack(targets).to(clip.device, torch.float32)

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
