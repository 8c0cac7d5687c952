"""Alignment of predictions with the reference encoder (arXiv 2512.21004, §3.2)."""

from __future__ import annotations

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import layer_norm, mse_loss

from nextvid_mm.registry import MODELS


@MODELS.register_module()
class AlignHead(BaseModule):
    """Mean squared error between projected predictions and reference features.

    Args:
        in_channels: channels of the predictor.
        out_channels: channels of the encoder.
        loss_weight: weight of the loss (1.0 in the paper).
        normalize_target: layer-normalise the reference features first.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        loss_weight: float = 1.0,
        normalize_target: bool = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.proj = nn.Linear(in_channels, out_channels)
        self.loss_weight, self.normalize_target = loss_weight, normalize_target

    def init_weights(self) -> None:
        """Initialise the projection, then load ``init_cfg`` if there is one."""
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)
        super().init_weights()

    def loss(self, z: Tensor, reference: Tensor) -> dict[str, Tensor]:
        """Alignment loss, averaged over frames, tokens and channels.

        Args:
            z: predictions ``(B, T, M, C_predictor)``.
            reference: reference features ``(B, T, M, C_encoder)``; no gradient reaches them.

        Returns:
            ``loss_align``, weighted.
        """
        target = reference.detach().float()
        if self.normalize_target:
            target = layer_norm(target, target.shape[-1:])
        return dict(loss_align=self.loss_weight * mse_loss(self.proj(z).float(), target))
