"""Latents of VA-VAE, the paper's generation targets (arXiv 2501.01423; 2512.21004, §3.3).

Shape legend: B clips, F video frames, T tubelets, N patches per frame, C latent channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .base import TargetGenerator
from .ldm_keys import from_ldm

# Parts of the released file that are no part of the autoencoder.
ALLOWED_EXTRA = ('loss.', 'foundation_model.', 'linear_proj.')


@MODELS.register_module()
class VAVAETarget(TargetGenerator):
    """Frame-wise latents of an LDM-format autoencoder, the frames of a tubelet stacked on channels.

    Frames are encoded one by one to the posterior mean. With stride 16 and two frames per tubelet,
    a target token of 2 x 32 channels covers the same cube as an encoder token.

    Args:
        checkpoint: the released weights (an LDM state dict, possibly under ``state_dict``), loaded
            by ``init_weights``. Missing, unexpected or misshapen weights are errors, except extra
            ones under ``ALLOWED_EXTRA``.
        patch_size: pixels per side of an encoder patch; must equal the autoencoder's stride.
        tubelet_size: video frames per encoder token.
        base_channels: width of the autoencoder's first level.
        channel_mult: widths of the levels over ``base_channels``; each but the last halves the
            resolution. The last has attention.
        latent_channels: C.
        mean: per-channel mean of the latents, C values or one.
        std: per-channel standard deviation, C values or one.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        checkpoint: str,
        patch_size: int = 16,
        tubelet_size: int = 2,
        base_channels: int = 128,
        channel_mult: Sequence[int] = (1, 1, 2, 2, 4),
        latent_channels: int = 32,
        mean: float | list[float] = 0.0,
        std: float | list[float] = 1.0,
        init_cfg: dict | None = None,
    ):
        # Per-channel statistics hold for each of the stacked frames.
        mean, std = (v * tubelet_size if isinstance(v, list) else v for v in (mean, std))
        super().__init__(patch_size, tubelet_size, mean, std, init_cfg)
        stride = 2 ** (len(channel_mult) - 1)
        if stride != patch_size:
            raise ValueError(
                f'an autoencoder with {len(channel_mult)} levels (channel_mult of VAVAETarget) has '
                f'stride {stride}, which is not patch_size={patch_size}'
            )
        self.checkpoint, self.latent_channels = checkpoint, latent_channels
        levels = len(channel_mult)
        self.autoencoder = AutoencoderKL(
            down_block_types=['DownEncoderBlock2D'] * (levels - 1) + ['AttnDownEncoderBlock2D'],
            up_block_types=['AttnUpDecoderBlock2D'] + ['UpDecoderBlock2D'] * (levels - 1),
            block_out_channels=[base_channels * factor for factor in channel_mult],
            layers_per_block=2,
            latent_channels=latent_channels,
        )
        self.requires_grad_(False)
        self.eval()

    @property
    def channels(self) -> int:
        """Latent channels times frames per tubelet."""
        return self.latent_channels * self.tubelet_size

    def train(self, mode: bool = True) -> VAVAETarget:
        """Stays in evaluation mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Load the checkpoint.

        Raises:
            FileNotFoundError: if it does not exist.
            ValueError: if it is not exactly this autoencoder.
        """
        if not Path(self.checkpoint).is_file():
            raise FileNotFoundError(
                f'model.target_generator.checkpoint={self.checkpoint!r} is missing: docs/data.md '
                'says where the released VA-VAE weights belong'
            )
        stored = torch.load(self.checkpoint, map_location='cpu', weights_only=True)
        stored = stored.get('state_dict', stored)
        kept = {k: v for k, v in stored.items() if not k.startswith(ALLOWED_EXTRA)}
        state = from_ldm(kept, len(self.autoencoder.config.block_out_channels))
        _check_fit(self.checkpoint, state, self.autoencoder.state_dict())
        self.autoencoder.load_state_dict(state)

    def encode(self, clip: Tensor) -> Tensor:
        """Latents ``(B, T, N, C * tubelet)``."""
        frames = rearrange(clip, 'b c f h w -> (b f) c h w')
        latent = self.autoencoder.encode(frames).latent_dist.mean
        return rearrange(
            latent, '(b t dt) c h w -> b t (h w) (dt c)', b=len(clip), dt=self.tubelet_size
        )

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Frames of latents ``(B, T, N, C * tubelet)``."""
        latent = rearrange(
            raw, 'b t (h w) (dt c) -> (b t dt) c h w', h=grid.height, dt=self.tubelet_size
        )
        frames = self.autoencoder.decode(latent).sample
        return rearrange(frames, '(b f) c h w -> b c f h w', b=len(raw))


def _check_fit(path: str, state: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Raise unless both have the same names and shapes; name the first difference."""
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f'{path} is not this autoencoder: missing {missing[:3]} ({len(missing)} in all), '
            f'unexpected {extra[:3]} ({len(extra)} in all)'
        )
    for name, value in own.items():
        if value.shape != state[name].shape:
            raise ValueError(
                f'{path} is not this autoencoder: {name} has shape {tuple(state[name].shape)}, '
                f'expected {tuple(value.shape)}'
            )
