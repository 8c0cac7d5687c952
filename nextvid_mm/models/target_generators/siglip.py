"""Features of SigLIP 2 (arXiv 2502.14786) as generation targets.

Shape legend: B clips, T tubelets, N patches per frame, C channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import interpolate

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .pretrained import FramewiseTarget, read_architecture

# Parts of published files besides the patch features: text tower, pooling head, loss.
UNUSED = ('text_model.', 'head.', 'logit_scale', 'logit_bias')
INSTALL = "pip install -c constraints.txt 'nextvid_mm[siglip]'"


@MODELS.register_module()
class SigLIP2Target(FramewiseTarget):
    """Patch features of a SigLIP or SigLIP 2 image encoder, the frames of a tubelet on channels.

    Features are those of the last layer after the final norm. Where the image encoder's patch
    differs from ours, frames are resized so that both have the same grid. Needs the optional
    package ``transformers``. There is no way back to pixels.

    Args:
        checkpoint: a folder as published for transformers (fixed resolution, not NaFlex):
            ``config.json`` and ``model.safetensors``, with or without the text tower.
        architecture: arguments of ``SiglipVisionConfig``. None: ``config.json`` of the folder.
        kwargs: arguments of ``FramewiseTarget``: ``patch_size``, ``tubelet_size``, ``statistics``,
            ``mean`` and ``std`` (0 and 1 by default), ``dtype``, ``frames_per_pass``, ``init_cfg``.

    Raises:
        ImportError: if ``transformers`` is not installed; says how to install it.
    """

    def __init__(self, checkpoint: str, architecture: dict | None = None, **kwargs: Any):
        network = _build(architecture or _read_vision_config(checkpoint))
        super().__init__(network, checkpoint, network.config.hidden_size, **kwargs)

    @property
    def channels(self) -> int:
        """Width of the image encoder x frames of a tubelet."""
        return self.latent_channels * self.tubelet_size

    def rename(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The image encoder's part, named as the installed ``transformers`` names it."""
        prefix = _prefix(self.network)
        plain = {name.removeprefix('vision_model.'): value for name, value in state.items()}
        return {prefix + k: v for k, v in plain.items() if not k.startswith(UNUSED)}

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Features ``(n, N, C)``."""
        patch = self.network.config.patch_size
        if patch != self.patch_size:
            size = [side // self.patch_size * patch for side in frames.shape[-2:]]
            frames = interpolate(
                frames, size=size, mode='bicubic', align_corners=False, antialias=True
            )
        return self.run(self._features, frames).float()

    def _features(self, frames: Tensor) -> Tensor:
        return self.network(frames, interpolate_pos_encoding=True).last_hidden_state

    def decode(self, raw: Tensor, grid: TokenGrid) -> Tensor:
        """Not possible.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            'features of SigLIP2Target cannot be turned back into pixels; train with PixelTarget '
            'or an autoencoder (VAVAETarget, DiffusersVAETarget) to generate pictures'
        )


def _build(settings: dict[str, Any]) -> nn.Module:
    """The image encoder without its pooling head."""
    try:
        from transformers import SiglipVisionConfig, SiglipVisionModel
    except ImportError as error:
        raise ImportError(
            f'SigLIP2Target needs the optional package transformers ({error}): {INSTALL}'
        ) from error
    # Published files repeat `model_type` here, which is no argument.
    settings = {key: value for key, value in settings.items() if key != 'model_type'}
    return SiglipVisionModel(SiglipVisionConfig(**settings | dict(vision_use_head=False)))


def _read_vision_config(checkpoint: str) -> dict[str, Any]:
    """The image encoder's part of the folder's ``config.json``."""
    stored = read_architecture(checkpoint)
    kind = stored.get('model_type')
    if kind not in ('siglip', 'siglip_vision_model'):
        raise ValueError(
            f"{checkpoint}/config.json has model_type={kind!r}; SigLIP2Target reads 'siglip', as "
            'the fixed-resolution releases of SigLIP 2 have it (google/siglip2-base-patch16-256)'
        )
    return stored['vision_config'] if kind == 'siglip' else stored


def _prefix(network: nn.Module) -> str:
    """What the installed release of transformers puts before the names."""
    first = next(iter(network.state_dict()))
    return 'vision_model.' if first.startswith('vision_model.') else ''
