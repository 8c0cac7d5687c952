"""Targets whose frames are encoded one by one and stacked on channels.

Shape legend: B clips, F video frames, T tubelets, dt frames of a tubelet, N patches, C channels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from .pretrained import PretrainedTarget

STACKED = '(b t dt) n c -> b t n (dt c)'
UNSTACKED = 'b t n (dt c) -> (b t dt) n c'


class FramewiseTarget(PretrainedTarget):
    """Encodes images; a token stacks the frames of its tubelet on channels.

    Args:
        frames_per_pass: most frames that go through the network at once; bounds memory.
        kwargs: arguments of ``PretrainedTarget``.
    """

    def __init__(self, frames_per_pass: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        if frames_per_pass < 1:
            raise ValueError(
                f'frames_per_pass={frames_per_pass} of {type(self).__name__} must be at least 1'
            )
        self.frames_per_pass = frames_per_pass

    @abstractmethod
    def encode_frames(self, frames: Tensor) -> Tensor:
        """Tokens ``(n, N, C)`` of frames ``(n, 3, height, width)``."""

    def encode(self, clip: Tensor) -> Tensor:
        """Tokens ``(B, T, N, dt * C)``."""
        return rearrange(self._encode(clip), STACKED, b=len(clip), dt=self.tubelet_size)

    def encode_static(self, clip: Tensor) -> Tensor:
        """As ``encode``, from a single frame of each clip."""
        tokens = self._encode(clip[:, :, :1])
        frames = clip.shape[2] // self.tubelet_size
        return repeat(tokens, 'b n c -> b t n (dt c)', t=frames, dt=self.tubelet_size)

    def _encode(self, clip: Tensor) -> Tensor:
        frames = rearrange(clip, 'b c f h w -> (b f) c h w')
        return torch.cat([self.encode_frames(part) for part in frames.split(self.frames_per_pass)])
