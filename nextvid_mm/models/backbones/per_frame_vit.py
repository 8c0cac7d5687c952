"""Image encoders applied to every frame of a clip by itself.

Shape legend: B batch, T video frames, N patches per frame, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from nextvid_mm.registry import MODELS

from .base import ClipEncoder
from .pixels import PixelNorm


@MODELS.register_module()
class PerFrameViT(ClipEncoder):
    """An image ViT of timm, without its classifier; frames never meet.

    For frozen features of published weights, converted by ``tools/convert_checkpoint.py``: nothing
    is downloaded. Clips come in this project's scale, [-1, 1]. Tokens are those of the patches;
    class and register tokens are left out.

    Args:
        model: name of the timm model, such as ``vit_base_patch16_224``, also as ``timm/NAME`` or
            ``hf-hub:timm/NAME``.
        timm_kwargs: further arguments of ``timm.create_model``. Other image sizes than the model's
            are allowed for by default where the architecture can; timm then interpolates the
            positions.
        frame_step: encode every so-manieth frame of a clip.
        mean: of the colours in [0, 1] that the encoder was trained with.
        std: their standard deviation.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if timm does not know the model.
        TypeError: if it is no ViT.
    """

    causal = per_frame = True

    def __init__(
        self,
        model: str,
        timm_kwargs: dict | None = None,
        frame_step: int = 1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        init_cfg: dict | None = None,
    ):
        model = model.removeprefix('hf-hub:').rpartition('/')[2]
        vit = make_timm_vit(model, **(timm_kwargs or {}))
        # What the other encoders call a tubelet is one frame here, every frame_step frames.
        super().__init__(
            vit.num_features,
            len(vit.blocks),
            vit.patch_embed.img_size[0],
            vit.patch_embed.feat_ratio(),
            frame_step,
            init_cfg=init_cfg,
        )
        self.vit, self.pixels = vit, PixelNorm(mean, std)

    def encode_layers(self, clip: Tensor, last: int = 1) -> list[Tensor]:
        """Normalised patch tokens of the last blocks, deepest last.

        Args:
            clip: ``(B, 3, T_video, height, width)`` in [-1, 1].
            last: number of blocks.

        Returns:
            ``last`` tensors ``(B, T, N, C)`` with ``T = T_video / frame_step``, rounded up.
        """
        self.check_last(last)
        frames = self.pixels(clip[:, :, :: self.tubelet_size]).transpose(1, 2)
        layers = self.vit.forward_intermediates(
            frames.flatten(0, 1), indices=last, norm=True, output_fmt='NLC', intermediates_only=True
        )
        return [y.unflatten(0, frames.shape[:2]) for y in layers]


def make_timm_vit(model: str, **settings: Any) -> nn.Module:
    """A ViT of timm with new weights and without its classifier, for images of any size if it can.

    Args:
        model: its name.
        settings: arguments of ``timm.create_model``.

    Raises:
        ValueError: if timm does not know it.
        TypeError: if it is no ViT with patch tokens.
    """
    if not timm.is_model(timm.models.split_model_name_tag(model)[0]):
        raise ValueError(
            f'model={model!r} of PerFrameViT is unknown to timm; timm.list_models("vit*") has '
            'the names'
        )
    settings = dict(pretrained=False, num_classes=0) | settings
    try:
        vit = timm.create_model(model, **dict(dynamic_img_size=True) | settings)
    except TypeError as error:
        if 'dynamic_img_size' not in str(error):
            raise
        vit = timm.create_model(model, **settings)
    parts = ('forward_intermediates', 'blocks', 'patch_embed')
    if not all(hasattr(vit, part) for part in parts) or not hasattr(vit.patch_embed, 'feat_ratio'):
        raise TypeError(f'model={model!r} of PerFrameViT is no ViT with patch tokens')
    return vit
