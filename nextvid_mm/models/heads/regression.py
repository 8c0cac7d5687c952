"""Heads that regress: targets, as other methods and for comparison, and reference features.

Shape legend: B batch, T predicted tubelets, M tokens per tubelet, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import instance_norm, l1_loss, layer_norm, mse_loss

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .base import Head, check_motion, squared_error
from .flow_matching import DecoderHead

CRITERIA = {'mse': mse_loss, 'l1': l1_loss}


@MODELS.register_module()
class RegressionHead(DecoderHead):
    """Predicts the target itself with the network of ``FlowMatchingHead``: no noise, no flow time.

    The decoder gets zeros for the noisy target and tau = 0, so that objective and number of passes
    are all that differs from flow matching. Arguments as in ``DecoderHead``.
    """

    def predict(self, z: Tensor, grid: TokenGrid, positions: Tensor | None = None) -> Tensor:
        """Targets ``(B, T, M, C_target)`` of predictions ``z``; arguments as in ``loss``."""
        B, T, M, _ = z.shape
        rope = self.decoder.spatial_rope(grid, positions, copies=T)
        h = z.new_zeros(B, T, 1, M, self.target_channels)
        return self.decoder(h, z.new_zeros(B, T, 1), z, rope)[:, :, 0]

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """``loss_regression``, see ``Head``: averaged over tubelets, tokens and channels."""
        error = mse_loss(self.predict(z, grid, positions).float(), target.float())
        return dict(loss_regression=self.loss_weight * error)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        noise: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        num_steps: int = 1,
        solver: str = 'none',
    ) -> Tensor:
        """The prediction, under the signature of ``FlowMatchingHead.sample``.

        A regression has one answer: noise, steps and solver change nothing.
        """
        return self.predict(z, grid, positions).to(noise.dtype)


class LinearHead(Head):
    """What heads of one linear layer share.

    Args:
        in_channels: channels of the predictor.
        target_channels: channels of a target token.
        loss_weight: weight of the loss.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self, in_channels: int, target_channels: int, loss_weight: float, init_cfg: dict | None
    ):
        super().__init__(target_channels, loss_weight, init_cfg)
        self.in_channels = in_channels
        self.proj = nn.Linear(in_channels, target_channels)

    def init_weights(self) -> None:
        """Initialise the projection, then load ``init_cfg`` if there is one."""
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)
        super().init_weights()


@MODELS.register_module()
class LinearRegressionHead(LinearHead):
    """One linear layer from predictions to targets, as in masked autoencoders.

    Args:
        in_channels: channels of the predictor.
        target_channels: channels of a target token.
        criterion: ``mse`` or ``l1``.
        loss_weight: weight of the loss.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        target_channels: int,
        criterion: str = 'mse',
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(in_channels, target_channels, loss_weight, init_cfg)
        if criterion not in CRITERIA:
            raise ValueError(
                f'criterion={criterion!r} of LinearRegressionHead is not one of '
                f'{", ".join(CRITERIA)}'
            )
        self.criterion = CRITERIA[criterion]

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """``loss_regression``, see ``Head``: averaged over tubelets, tokens and channels."""
        error = self.criterion(self.proj(z).float(), target.float())
        return dict(loss_regression=self.loss_weight * error)


@MODELS.register_module()
class AlignHead(LinearHead):
    """Mean squared error between projected predictions and reference features.

    Args:
        in_channels: channels of the predictor.
        out_channels: channels of the encoder.
        loss_weight: weight of the loss (1.0 in the paper).
        normalize_target: ``token`` normalises every reference feature over its channels (V-JEPA),
            ``clip`` every channel over the tokens of a clip (data2vec, arXiv 2202.03555, for
            speech): what all tokens of a clip share is no target then, and a reference whose
            features shrink or agree is no easier to match. None takes them as they are.
        motion: share of the loss that goes to tokens as far as their reference features change
            from tubelet to tubelet, see ``squared_error``.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        loss_weight: float = 1.0,
        normalize_target: str | None = None,
        motion: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(in_channels, out_channels, loss_weight, init_cfg)
        if normalize_target not in (None, 'token', 'clip'):
            raise ValueError(
                f'normalize_target={normalize_target!r} of AlignHead is not one of None, token, '
                'clip'
            )
        self.normalize_target = normalize_target
        self.motion = check_motion(motion, 'AlignHead')

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """``loss_align``, see ``Head``; targets are features of the reference encoder."""
        target = target.detach().float()
        if self.normalize_target == 'token':
            target = layer_norm(target, target.shape[-1:])
        elif self.normalize_target == 'clip':
            # A small eps: features that have shrunk must not be let off.
            channels_first = instance_norm(target.flatten(1, 2).transpose(1, 2), eps=1e-8)
            target = channels_first.transpose(1, 2).view_as(target)
        error = squared_error(self.proj(z), target, target, self.motion)
        return dict(loss_align=self.loss_weight * error)
