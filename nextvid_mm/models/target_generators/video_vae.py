"""Latents of causal video autoencoders, through diffusers.

Shape legend: B clips, F video frames, T tubelets, dt frames of a tubelet, N patches per frame,
r video frames per latent frame, m latent frames of a tubelet, p latents per side of a patch,
C latent channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffusers
import numpy as np
import torch
from einops import rearrange, reduce
from mmengine.device import get_device
from torch import Tensor, nn

from nextvid_mm.checks import check_count
from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .image_vae import latents_per_side
from .pretrained import PretrainedTarget, read_architecture

TOKENS = 'b c (t m) (h ph) (w pw) -> b t (h w) (m ph pw c)'
LATENTS = 'b t (h w) (m ph pw c) -> b c (t m) (h ph) (w pw)'


class Codec(NamedTuple):
    """What has to be known of one of diffusers' autoencoders, as functions of its config."""

    channels: Callable[[Any], int]
    """Latent channels."""
    stride: Callable[[Any], int]
    """Pixels per latent."""
    frames: Callable[[Any], int]
    """Video frames per latent frame, after the first."""
    steady: bool
    """Whether identical frames have identical latents from the first on."""


CODECS = {
    'AutoencoderKLCosmos': Codec(
        channels=lambda config: config.latent_channels,
        stride=lambda config: config.spatial_compression_ratio,
        frames=lambda config: config.temporal_compression_ratio,
        steady=True,
    ),
    'AutoencoderKLWan': Codec(
        channels=lambda config: config.z_dim,
        stride=lambda config: 2 ** (len(config.dim_mult) - 1) * (config.patch_size or 1),
        frames=lambda config: 2 ** sum(config.temperal_downsample),
        steady=False,  # it pads the past with zeros, not with the first frame
    ),
}


@MODELS.register_module(name=['VideoVAETarget', 'CosmosVAETarget'])
class VideoVAETarget(PretrainedTarget):
    """Latents of a causal video autoencoder, such as Cosmos, on the encoder's tubelets.

    Such an autoencoder turns 1 + r * k frames into 1 + k latent frames: the first stands for one
    frame, each other one for the r frames that end with it. The video it is given begins with the
    *last frame of the first tubelet*; its latent is dropped, and from there on latents and tubelets
    begin together. The first tubelet's other frames are not encoded, and no target depends on
    frames after its own tubelet.

    r must divide the frames of a tubelet; m > 1 latent frames of a tubelet are stacked on channels.
    Where r is larger, ``repeat_frames`` shows every frame that many times: with r = 8, tubelets of
    two frames need ``repeat_frames=4``. Patches of several latents are stacked on channels too.

    To decode, the latent before the first target is needed; the first target itself stands in.

    Args:
        checkpoint: a folder as published for diffusers (``config.json`` and ``.safetensors``).
        repeat_frames: how often each video frame is shown to the autoencoder.
        architecture: contents of ``config.json``, with ``_class_name`` (one of ``CODECS``; Cosmos
            by default). None: that of the folder.
        clips_per_pass: most clips that go through the autoencoder at once; bounds memory.
        kwargs: arguments of ``PretrainedTarget``: ``patch_size``, a multiple of the autoencoder's
            stride, ``tubelet_size``, ``statistics``, ``mean`` and ``std`` (the autoencoder's own
            are pooled over time), ``dtype``, ``init_cfg``.
    """

    lead_frames = 1

    def __init__(
        self,
        checkpoint: str,
        repeat_frames: int = 1,
        architecture: dict | None = None,
        clips_per_pass: int = 4,
        **kwargs: Any,
    ):
        network = _build(architecture or read_architecture(checkpoint), checkpoint)
        config, name = network.config, type(network).__name__
        codec = CODECS[name]
        channels = codec.channels(config)
        if kwargs.get('dtype', 'auto') == 'auto' and get_device() == 'cpu':
            kwargs['dtype'] = None  # PyTorch pools no volumes of bfloat16 on a CPU
        super().__init__(network, checkpoint, channels, _own_statistics(config, channels), **kwargs)
        self.repeat_frames, self.clips_per_pass = repeat_frames, clips_per_pass
        self.latents_per_side = latents_per_side(codec.stride(config), self.patch_size, name)
        self.latent_frames = _latent_frames(
            codec.frames(config), self.tubelet_size, repeat_frames, name
        )
        self.steady = codec.steady

    @property
    def channels(self) -> int:
        """Latent channels x squares of a patch x latent frames of a tubelet."""
        return self.latent_channels * self.latents_per_side**2 * self.latent_frames

    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published names are diffusers' own."""
        return state

    def encode(self, clip: Tensor) -> Tensor:
        """Latents ``(B, T, N, m * p * p * C)`` of a clip that begins with the lead frame."""
        repeated = clip[:, :, 1:].repeat_interleave(self.repeat_frames, dim=2)
        video = torch.cat([clip[:, :, :1], repeated], dim=2)
        parts = video.split(self.clips_per_pass)
        latent = torch.cat(
            [self.run(self.network.encode, part).latent_dist.mode().float() for part in parts]
        )
        side = self.latents_per_side
        return rearrange(latent[:, :, 1:], TOKENS, m=self.latent_frames, ph=side, pw=side)

    def encode_static(self, clip: Tensor) -> Tensor:
        """From one tubelet where the autoencoder permits that."""
        return super().encode_static(clip) if self.steady else self.encode(clip)

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Frames of latents ``(B, T, N, m * p * p * C)``; repeated frames are averaged."""
        side = self.latents_per_side
        latent = rearrange(raw, LATENTS, h=grid.height, m=self.latent_frames, ph=side, pw=side)
        latent = torch.cat([latent[:, :, :1], latent], dim=2)
        parts = [
            self.run(self.network.decode, part).sample.float()
            for part in latent.split(self.clips_per_pass)
        ]
        frames = torch.cat(parts)[:, :, 1:]
        return reduce(frames, 'b c (f again) h w -> b c f h w', 'mean', again=self.repeat_frames)


def _build(architecture: dict, checkpoint: str) -> nn.Module:
    """The autoencoder that a ``config.json`` describes."""
    name = architecture.get('_class_name', 'AutoencoderKLCosmos')
    if name not in CODECS:
        raise ValueError(
            f'the autoencoder of {checkpoint} is a {name}; VideoVAETarget knows '
            f'{", ".join(sorted(CODECS))}'
        )
    settings = {key: value for key, value in architecture.items() if not key.startswith('_')}
    return getattr(diffusers, name).from_config(settings)


def _latent_frames(ratio: int, tubelet_size: int, repeat_frames: int, owner: str) -> int:
    """Latent frames per tubelet.

    Raises:
        ValueError: if tubelets are no whole number of latent frames.
    """
    check_count(repeat_frames, 'repeat_frames')
    if (tubelet_size * repeat_frames) % ratio:
        needed = ratio // math.gcd(ratio, tubelet_size)
        raise ValueError(
            f'a latent frame of {owner} covers {ratio} video frames, which do not fit '
            f'tubelet_size={tubelet_size} with repeat_frames={repeat_frames}: set '
            f'model.target_generator.repeat_frames={needed}, or tubelet_size={ratio}'
        )
    return tubelet_size * repeat_frames // ratio


def _own_statistics(config: Any, channels: int) -> tuple[float | list[float], float | list[float]]:
    """Mean and std per channel that come with the autoencoder.

    Cosmos has them per channel and latent frame. The first frame's latent is never a target, the
    others are pooled.
    """
    if config.get('latents_mean') is None:
        return 0.0, 1.0 / config.get('scaling_factor', 1.0)
    mean, std = (
        np.reshape(config[name], (channels, -1)).astype(np.float64)
        for name in ('latents_mean', 'latents_std')
    )
    if mean.shape[1] > 1:
        mean, std = mean[:, 1:], std[:, 1:]
    pooled = mean.mean(1)
    variance = (std**2 + (mean - pooled[:, None]) ** 2).mean(1)
    return pooled.tolist(), np.sqrt(variance).tolist()
