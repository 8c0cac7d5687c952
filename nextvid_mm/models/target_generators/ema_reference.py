"""The reference encoder (arXiv 2512.21004, §3.2)."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.backbones.base import VideoEncoder
from nextvid_mm.models.part import part_class
from nextvid_mm.registry import MODELS


@MODELS.register_module()
class EMAReference(BaseModule):
    """An exponential moving average of the encoder that sees the whole clip, without gradient.

    It starts as a copy of the encoder and follows it through ``update``, which ``EMAHook`` calls
    after every optimiser step. With momentum 0 it *is* the encoder (the "no EMA" ablation).

    It is its own contract: another reference encoder is derived from it. Hooks and probes use
    ``update``, ``copy_from``, ``encoder`` and the call.

    Args:
        backbone: config of the encoder, a ``VideoEncoder``; see its ``still``.

    Raises:
        ValueError: if ``tuned`` of the encoder adds weights to it, which have no average.
    """

    def __init__(self, backbone: dict):
        super().__init__()
        tuned = backbone.get('tuned')
        if tuned == 'lora' or isinstance(tuned, Mapping):
            raise ValueError(
                f'model.backbone.tuned={tuned!r} adds weights to the encoder, which its moving '
                "average does not have: set tuned to 'all', 'norms_and_biases' or a number of "
                'blocks, or model.reference=None'
            )
        kind = part_class(backbone, VideoEncoder, 'model.backbone')  # type: ignore[type-abstract]
        self.encoder = MODELS.build(kind.still(dict(copy.deepcopy(backbone))))
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> EMAReference:
        """Stays in evaluation mode."""
        return super().train(False)

    def init_weights(self) -> None:
        """Nothing to draw: the algorithm copies the initialised encoder."""

    @torch.no_grad()
    def copy_from(self, backbone: nn.Module) -> None:
        """Take over the encoder's weights."""
        self.update(backbone, momentum=0.0)

    @torch.no_grad()
    def update(self, backbone: nn.Module, momentum: float | Tensor) -> None:
        """``reference = momentum * reference + (1 - momentum) * encoder``.

        Args:
            backbone: the encoder.
            momentum: a number, or one of float64 on the device, which nobody waits for.
        """
        reference, theirs = list(self.encoder.parameters()), list(backbone.parameters())
        weight = 1.0 - momentum
        if not isinstance(weight, Tensor):
            torch._foreach_lerp_(reference, theirs, weight)
            return
        weights = {dtype: weight.to(dtype) for dtype in {mine.dtype for mine in reference}}
        for mine, other in zip(reference, theirs, strict=True):
            mine.lerp_(other, weights[mine.dtype])

    @torch.no_grad()
    def forward(self, patches: Tensor, grid: TokenGrid) -> Tensor:
        """Features ``(B, T, N, C)`` of the full clip's patches ``(B, T, N, P)``."""
        return self.encoder(patches, grid)[-1]
