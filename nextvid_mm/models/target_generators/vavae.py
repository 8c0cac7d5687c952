"""Latents of VA-VAE, the paper's generation targets (arXiv 2501.01423; 2512.21004, §3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nextvid_mm.registry import MODELS

from .image_vae import DiffusersVAETarget


@MODELS.register_module()
class VAVAETarget(DiffusersVAETarget):
    """A ``DiffusersVAETarget`` of VA-VAE's architecture, f16d32.

    With stride 16 and two frames per tubelet, a target token has 2 x 32 channels.

    Args:
        checkpoint: the released weights, an LDM state dict.
        patch_size: pixels per side of an encoder patch; a multiple of the autoencoder's stride.
        tubelet_size: video frames per encoder token.
        base_channels: width of the autoencoder's first level.
        channel_mult: widths of the levels over ``base_channels``; each but the last halves the
            resolution. The last has attention.
        latent_channels: C.
        statistics: file with per-channel mean and std, such as LightningDiT's
            ``latents_stats.pt``.
        mean: mean of the latents, C values or one; 0 by default.
        std: standard deviation, C values or one; 1 by default.
        frames_per_pass: most frames that go through the autoencoder at once; bounds memory.
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
        statistics: str | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        frames_per_pass: int = 64,
        init_cfg: dict | None = None,
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
        super().__init__(
            checkpoint,
            patch_size,
            tubelet_size,
            architecture,
            statistics,
            mean,
            std,
            frames_per_pass,
            init_cfg,
        )
