"""Latents of image autoencoders, through diffusers.

Shape legend: B clips, T tubelets, dt frames of a tubelet, N patches per frame, p latents per side
of a patch, C latent channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .pretrained import UNSTACKED, FramewiseTarget, read_architecture

# Parts of published files that are no part of the autoencoder.
ALLOWED_EXTRA = ('loss.', 'foundation_model.', 'linear_proj.', 'model_ema.')
TOKENS = 'b c (h ph) (w pw) -> b (h w) (ph pw c)'
LATENTS = 'b (h w) (ph pw c) -> b c (h ph) (w pw)'


@MODELS.register_module()
class DiffusersVAETarget(FramewiseTarget):
    """Frame-wise latents of any ``diffusers.AutoencoderKL``, such as sd-vae-ft (f8d4) or f16 ones.

    Frames are encoded one by one to the posterior mean. A token covers the same cube as an encoder
    token: where the autoencoder's stride is smaller than the patch, the squares of latents inside a
    patch are stacked on channels (stride 8, patch 16: 2 x 2 of them), and so are the frames of a
    tubelet. Channels run, slowest first: frame, row, column, latent channel.

    Args:
        checkpoint: a folder as published for diffusers, or a file in the latent-diffusion (LDM)
            format; loaded by ``init_weights``. Missing, unexpected or misshapen weights are
            errors, except extra ones under ``ALLOWED_EXTRA``.
        architecture: arguments of ``AutoencoderKL``. None: ``config.json`` of the folder.
        kwargs: arguments of ``FramewiseTarget``: ``patch_size``, a multiple of the autoencoder's
            stride, ``tubelet_size``, ``statistics``, ``mean`` and ``std`` (the autoencoder's own
            are its ``shift_factor`` and ``scaling_factor``), ``dtype``, ``frames_per_pass``,
            ``init_cfg``.
    """

    def __init__(self, checkpoint: str, architecture: dict | None = None, **kwargs: Any):
        network = _build(architecture, checkpoint)
        config = network.config
        own = (config.shift_factor or 0.0, 1.0 / config.scaling_factor)
        super().__init__(network, checkpoint, config.latent_channels, own, **kwargs)
        stride = 2 ** (len(config.block_out_channels) - 1)
        self.latents_per_side = latents_per_side(stride, self.patch_size, type(self).__name__)

    @property
    def channels(self) -> int:
        """Latent channels x squares of a patch x frames of a tubelet."""
        return self.latent_channels * self.latents_per_side**2 * self.tubelet_size

    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """From LDM's or the older diffusers names."""
        kept = {k: v for k, v in state.items() if not k.startswith(ALLOWED_EXTRA)}
        if is_ldm(kept):
            return from_ldm(kept, len(self.network.config.block_out_channels))
        return from_old_diffusers(kept)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Posterior means ``(n, N, p * p * C)``."""
        latent = self.run(self.network.encode, frames).latent_dist.mean.float()
        return rearrange(latent, TOKENS, ph=self.latents_per_side, pw=self.latents_per_side)

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Frames of latents ``(B, T, N, dt * p * p * C)``."""
        tokens = rearrange(raw, UNSTACKED, dt=self.tubelet_size)
        side = self.latents_per_side
        latent = rearrange(tokens, LATENTS, h=grid.height, ph=side, pw=side)
        parts = latent.split(self.frames_per_pass)
        frames = [self.run(self.network.decode, part).sample.float() for part in parts]
        return rearrange(torch.cat(frames), '(b f) c h w -> b c f h w', b=len(raw))


def latents_per_side(stride: int, patch_size: int, owner: str) -> int:
    """Latents along one side of a patch.

    Raises:
        ValueError: if a patch is no whole number of latents.
    """
    if patch_size % stride:
        raise ValueError(
            f'the autoencoder of {owner} has stride {stride}, which does not divide patch_size='
            f'{patch_size}: a token must cover whole latents; use patch_size={stride} or a '
            'multiple, or another autoencoder'
        )
    return patch_size // stride


def _build(architecture: dict | None, checkpoint: str) -> AutoencoderKL:
    """The autoencoder as described, or as the published folder describes it."""
    if architecture is not None:
        return AutoencoderKL(**architecture)
    stored = read_architecture(checkpoint)
    if stored.get('_class_name', 'AutoencoderKL') != 'AutoencoderKL':
        raise ValueError(
            f'{checkpoint}/config.json describes a {stored["_class_name"]}, not an AutoencoderKL'
        )
    return AutoencoderKL.from_config(stored)


@MODELS.register_module()
class VAVAETarget(DiffusersVAETarget):
    """A ``DiffusersVAETarget`` of VA-VAE's architecture, f16d32.

    With stride 16 and two frames per tubelet, a target token has 2 x 32 channels.

    Args:
        checkpoint: the released weights, an LDM state dict.
        base_channels: width of the autoencoder's first level.
        channel_mult: widths of the levels over ``base_channels``; each but the last halves the
            resolution. The last has attention.
        latent_channels: C.
        kwargs: as in ``DiffusersVAETarget``; ``statistics`` may be LightningDiT's
            ``latents_stats.pt``. Without them, mean is 0 and std 1.
    """

    def __init__(
        self,
        checkpoint: str,
        base_channels: int = 128,
        channel_mult: Sequence[int] = (1, 1, 2, 2, 4),
        latent_channels: int = 32,
        **kwargs: Any,
    ):
        levels = len(channel_mult)
        architecture: dict[str, Any] = dict(
            down_block_types=['DownEncoderBlock2D'] * (levels - 1) + ['AttnDownEncoderBlock2D'],
            up_block_types=['AttnUpDecoderBlock2D'] + ['UpDecoderBlock2D'] * (levels - 1),
            block_out_channels=[base_channels * factor for factor in channel_mult],
            layers_per_block=2,
            latent_channels=latent_channels,
            scaling_factor=1.0,
        )
        super().__init__(checkpoint, architecture, **kwargs)


_RULES = [
    (r'^(encoder|decoder)\.norm_out\.', r'\1.conv_norm_out.'),
    (r'^encoder\.down\.(\d+)\.downsample\.', r'encoder.down_blocks.\1.downsamplers.0.'),
    (r'^encoder\.down\.(\d+)\.block\.', r'encoder.down_blocks.\1.resnets.'),
    (r'^encoder\.down\.(\d+)\.attn\.', r'encoder.down_blocks.\1.attentions.'),
    (r'^decoder\.up\.(\d+)\.upsample\.', r'decoder.up_blocks.\1.upsamplers.0.'),
    (r'^decoder\.up\.(\d+)\.block\.', r'decoder.up_blocks.\1.resnets.'),
    (r'^decoder\.up\.(\d+)\.attn\.', r'decoder.up_blocks.\1.attentions.'),
    (r'\.mid\.block_1\.', '.mid_block.resnets.0.'),
    (r'\.mid\.block_2\.', '.mid_block.resnets.1.'),
    (r'\.mid\.attn_1\.', '.mid_block.attentions.0.'),
    (r'\.nin_shortcut\.', '.conv_shortcut.'),
    (r'(\.attentions\.\d+)\.norm\.', r'\1.group_norm.'),
    (r'(\.attentions\.\d+)\.([qkv])\.', r'\1.to_\2.'),
    (r'(\.attentions\.\d+)\.proj_out\.', r'\1.to_out.0.'),
]
_OLD_ATTENTION = [
    (r'(\.attentions\.\d+)\.query\.', r'\1.to_q.'),
    (r'(\.attentions\.\d+)\.key\.', r'\1.to_k.'),
    (r'(\.attentions\.\d+)\.value\.', r'\1.to_v.'),
    (r'(\.attentions\.\d+)\.proj_attn\.', r'\1.to_out.0.'),
]


def is_ldm(state: dict[str, Tensor]) -> bool:
    """Whether names are those of latent diffusion, not of diffusers."""
    return any(re.match(r'^(encoder\.down|decoder\.up)\.\d', name) for name in state)


def from_old_diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what the first releases of diffusers called otherwise; sd-vae-ft is one of them."""
    return {_rename(name, _OLD_ATTENTION): value for name, value in state.items()}


def from_ldm(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Rename the weights of an LDM autoencoder for ``diffusers.AutoencoderKL``.

    LDM counts the decoder's levels from the finest, diffusers from the coarsest; LDM writes the
    linear layers of attention as 1x1 convolutions.

    Args:
        state: weights in the LDM format.
        levels: number of resolutions.
    """
    renamed = {}
    for old, value in state.items():
        name = _rename(old, _RULES)
        name = re.sub(
            r'^decoder\.up_blocks\.(\d+)',
            lambda m: f'decoder.up_blocks.{levels - 1 - int(m[1])}',
            name,
        )
        is_attention = '.attentions.' in name and '.group_norm.' not in name
        renamed[name] = value[..., 0, 0] if is_attention and value.dim() == 4 else value
    return renamed


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
