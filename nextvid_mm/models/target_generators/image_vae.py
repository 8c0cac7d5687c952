"""Latents of image autoencoders, through diffusers.

Shape legend: B clips, T tubelets, dt frames of a tubelet, N patches per frame, p latents per side
of a patch, C latent channels.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from einops import rearrange
from torch import Tensor

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .framewise import UNSTACKED, FramewiseTarget
from .ldm_keys import from_ldm, from_old_diffusers, is_ldm
from .pretrained import chosen_statistics
from .weights import read_architecture

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
        patch_size: pixels per side of an encoder patch; a multiple of the autoencoder's stride.
        tubelet_size: video frames per encoder token.
        architecture: arguments of ``AutoencoderKL``. None: ``config.json`` of the folder.
        statistics: file with per-channel mean and std, ``.pt``, ``.safetensors`` or ``.json``.
        mean: mean of the latents, C values or one. None, as ``std``: the autoencoder's own
            ``shift_factor`` and ``scaling_factor``.
        std: standard deviation, C values or one.
        frames_per_pass: most frames that go through the autoencoder at once; bounds memory.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        checkpoint: str,
        patch_size: int = 16,
        tubelet_size: int = 2,
        architecture: dict | None = None,
        statistics: str | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        frames_per_pass: int = 64,
        init_cfg: dict | None = None,
    ):
        network = _build(architecture, checkpoint)
        config, name = network.config, type(self).__name__
        own = (config.shift_factor or 0.0, 1.0 / config.scaling_factor)
        mean, std = chosen_statistics((mean, std), statistics, own, name)
        super().__init__(
            network=network,
            checkpoint=checkpoint,
            latent_channels=config.latent_channels,
            patch_size=patch_size,
            tubelet_size=tubelet_size,
            statistics=statistics,
            mean=mean,
            std=std,
            frames_per_pass=frames_per_pass,
            init_cfg=init_cfg,
        )
        self.latents_per_side = latents_per_side(
            2 ** (len(config.block_out_channels) - 1), patch_size, name
        )

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
        latent = self.network.encode(frames).latent_dist.mean
        return rearrange(latent, TOKENS, ph=self.latents_per_side, pw=self.latents_per_side)

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Frames of latents ``(B, T, N, dt * p * p * C)``."""
        tokens = rearrange(raw, UNSTACKED, dt=self.tubelet_size)
        side = self.latents_per_side
        latent = rearrange(tokens, LATENTS, h=grid.height, ph=side, pw=side)
        frames = [self.network.decode(part).sample for part in latent.split(self.frames_per_pass)]
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
