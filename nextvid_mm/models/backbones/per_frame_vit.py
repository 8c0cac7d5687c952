"""Image encoders applied to every frame of a clip by itself.

Shape legend: B batch, T video frames, N patches per frame, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
from torch import Tensor

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
        model: name of the timm model, such as ``vit_base_patch16_224``.
        timm_kwargs: further arguments of ``timm.create_model``. Other image sizes than the model's
            are allowed for by default; timm then interpolates the positions.
        frame_step: encode every so-manieth frame of a clip.
        mean: of the colours in [0, 1] that the encoder was trained with.
        std: their standard deviation.
        init_cfg: mmengine initialisation config.

    Raises:
        ValueError: if timm does not know the model.
        TypeError: if it is no ViT.
    """

    def __init__(
        self,
        model: str,
        timm_kwargs: dict | None = None,
        frame_step: int = 1,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        init_cfg: dict | None = None,
    ):
        if not timm.is_model(model):
            raise ValueError(
                f'model={model!r} of PerFrameViT is unknown to timm; timm.list_models("vit*") has '
                'the names'
            )
        settings = dict(dynamic_img_size=True) | (timm_kwargs or {})
        vit = timm.create_model(model, pretrained=False, num_classes=0, **settings)
        if not hasattr(vit, 'forward_intermediates') or not hasattr(vit, 'blocks'):
            raise TypeError(f'model={model!r} of PerFrameViT is no ViT with patch tokens')
        # What the other encoders call a tubelet is one frame here, every frame_step frames.
        super().__init__(
            vit.num_features,
            len(vit.blocks),
            vit.patch_embed.img_size[0],
            vit.patch_embed.patch_size[0],
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
