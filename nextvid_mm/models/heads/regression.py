"""Regression of targets: what flow matching is compared with, and what other methods train.

Both heads keep the contract of ``FlowMatchingHead.loss``.

Shape legend: B batch, T predicted frames, M tokens per frame, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

from .dit import build_decoder

CRITERIA = {'mse': mse_loss, 'l1': l1_loss}


@MODELS.register_module()
class RegressionHead(BaseModule):
    """Predicts the target itself with the network of ``FlowMatchingHead``: no noise, no flow time.

    The decoder gets zeros for the noisy target and tau = 0, so that objective and number of passes
    are all that differs from flow matching.

    Args:
        decoder: as in ``FlowMatchingHead``.
        loss_weight: weight of the loss (0.5, as the flow loss in the paper).
        init_cfg: mmengine initialisation config.
    """

    # Set by the stage table, which has no use here: there is no time to draw.
    tau_samples = 1

    def __init__(self, decoder: dict, loss_weight: float = 0.5, init_cfg: dict | None = None):
        super().__init__(init_cfg)
        self.decoder = build_decoder(decoder)
        self.loss_weight = loss_weight

    @property
    def target_channels(self) -> int:
        """Channels of a target token."""
        return self.decoder.target_proj.in_features

    def init_weights(self) -> None:
        """Initialise the decoder, then load ``init_cfg`` if there is one."""
        self.decoder.init_weights()
        super().init_weights()

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
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Mean squared error, averaged over frames, tokens and channels.

        Args:
            z: predictions ``(B, T, M, C_condition)``; the loss flows back through them.
            target: clean targets ``(B, T, M, C_target)``.
            grid: the clip's full token grid.
            positions: ``(B, M)`` patches of the tokens, or None for all.
            seeds: of the contract; nothing is drawn here.

        Returns:
            ``loss_regression``, weighted.
        """
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


@MODELS.register_module()
class LinearRegressionHead(BaseModule):
    """One linear layer from predictions to targets, as in masked autoencoders.

    Args:
        in_channels: channels of the predictor.
        target_channels: channels of a target token.
        criterion: ``mse`` or ``l1``.
        loss_weight: weight of the loss.
        init_cfg: mmengine initialisation config.
    """

    # See RegressionHead.
    tau_samples = 1

    def __init__(
        self,
        in_channels: int,
        target_channels: int,
        criterion: str = 'mse',
        loss_weight: float = 1.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if criterion not in CRITERIA:
            raise ValueError(
                f'criterion={criterion!r} of LinearRegressionHead is not one of '
                f'{", ".join(CRITERIA)}'
            )
        self.proj = nn.Linear(in_channels, target_channels)
        self.criterion, self.loss_weight = CRITERIA[criterion], loss_weight

    @property
    def target_channels(self) -> int:
        """Channels of a target token."""
        return self.proj.out_features

    def init_weights(self) -> None:
        """Initialise the projection, then load ``init_cfg`` if there is one."""
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        nn.init.zeros_(self.proj.bias)
        super().init_weights()

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Error averaged over frames, tokens and channels; arguments as in ``RegressionHead``."""
        error = self.criterion(self.proj(z).float(), target.float())
        return dict(loss_regression=self.loss_weight * error)
