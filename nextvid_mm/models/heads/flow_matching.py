"""The conditioned flow-matching head (arXiv 2512.21004, §3.3).

Shape legend: B batch, T predicted frames, k tau samples, M tokens per frame, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor
from torch.nn.functional import mse_loss

from nextvid_mm.flow import draw_flow, integrate, linear_path, velocity_from_clean
from nextvid_mm.layers import RopeTable, TokenGrid
from nextvid_mm.registry import MODELS

from .dit import build_decoder

PREDICTIONS = ('velocity', 'clean')


@MODELS.register_module()
class FlowMatchingHead(BaseModule):
    """Regresses the velocity from noise to target, given the predictor's output at each token.

    Args:
        decoder: a ``FrameDiT`` (the default ``type``) or ``CrossSelfDiT`` and its settings
            (``target_channels``, ``condition_channels``, ...).
        tau_samples: times drawn per condition and step; the stage table sets it during training.
        loss_weight: weight of the flow loss (0.5 in the paper).
        prediction: the network's output is the ``velocity`` (the paper) or the ``clean`` target,
            turned into a velocity; the latter learns targets with more channels than the decoder
            is wide.
        clean_floor: smallest ``1 - tau`` to divide by with ``prediction='clean'``.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        decoder: dict,
        tau_samples: int = 4,
        loss_weight: float = 0.5,
        prediction: str = 'velocity',
        clean_floor: float = 0.05,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if prediction not in PREDICTIONS:
            raise ValueError(
                f'prediction={prediction!r} of FlowMatchingHead is not one of '
                f'{", ".join(PREDICTIONS)}'
            )
        self.decoder = build_decoder(decoder)
        self.tau_samples, self.loss_weight = tau_samples, loss_weight
        self.prediction, self.clean_floor = prediction, clean_floor

    @property
    def target_channels(self) -> int:
        """Channels of a target token."""
        return self.decoder.target_proj.in_features

    def init_weights(self) -> None:
        """Initialise the decoder, then load ``init_cfg`` if there is one."""
        self.decoder.init_weights()
        super().init_weights()

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Sequence[int] | None = None,
    ) -> dict[str, Tensor]:
        """Flow-matching loss, averaged over frames, tokens and channels.

        Args:
            z: condition ``(B, T, M, C_condition)``; the loss flows back through it.
            target: clean targets ``(B, T, M, C_target)``.
            grid: the clip's full token grid.
            positions: ``(B, M)`` patches of the tokens, or None for all.
            seeds: one per clip, for times and noise; None draws from the global generator.

        Returns:
            ``loss_flow``, weighted.
        """
        k = self.tau_samples
        _, T, M, C = target.shape
        draw = draw_flow(seeds, (T, k), (T, k, M, C), like=target)
        data = target[:, :, None].expand_as(draw.noise).flatten(0, 2)
        path = linear_path(data, draw.noise.flatten(0, 2), draw.tau.flatten())
        rope = self.decoder.spatial_rope(grid, positions, copies=T * k)
        velocity = self.velocity(path.position.view_as(draw.noise), draw.tau, z, rope)
        flow = mse_loss(velocity.float(), path.velocity.view_as(velocity).float())
        return dict(loss_flow=self.loss_weight * flow)

    def velocity(self, h: Tensor, tau: Tensor, z: Tensor, rope: RopeTable) -> Tensor:
        """Velocity at noisy targets, shapes as in ``FrameDiT.forward``."""
        output = self.decoder(h, tau, z, rope)
        if self.prediction == 'velocity':
            return output
        rows = velocity_from_clean(
            output.flatten(0, 2), h.flatten(0, 2), tau.flatten(), self.clean_floor
        )
        return rows.view_as(h)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        noise: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        num_steps: int = 20,
        solver: str = 'euler',
    ) -> Tensor:
        """Generate targets.

        Args:
            z: condition ``(B, T, M, C_condition)``.
            noise: standard normal ``(B, T, M, C_target)``.
            grid: the clip's full token grid.
            positions: ``(B, M)`` patches of the tokens, or None for all.
            num_steps: solver steps.
            solver: ``euler`` or ``heun``.

        Returns:
            Targets, as ``noise``.
        """
        T = z.shape[1]
        rope = self.decoder.spatial_rope(grid, positions, copies=T)

        def velocity(h: Tensor, tau: Tensor) -> Tensor:
            times = tau[:, None, None].expand(-1, T, 1)
            return self.velocity(h[:, :, None], times, z, rope)[:, :, 0].to(h.dtype)

        return integrate(velocity, noise, num_steps, solver)
