"""What a head of pretraining is.

Shape legend: B batch, T predicted tubelets, M tokens per tubelet, C channels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.part import Part


class Head(Part):
    """Turns predictions into a loss, and perhaps into targets.

    Write ``loss``; with ``generates = True`` also ``sample``.

    Args:
        target_channels: channels of a target token.
        loss_weight: weight of the loss.
        init_cfg: mmengine initialisation config.
    """

    generates = False
    """Whether ``sample`` makes targets."""
    tau_samples = 1
    """Flow times per condition, set by the stage table; no use where no time is drawn."""

    def __init__(
        self, target_channels: int, loss_weight: float = 1.0, init_cfg: dict | None = None
    ):
        super().__init__(init_cfg)
        self.target_channels, self.loss_weight = target_channels, loss_weight

    @abstractmethod
    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """Named losses, weighted and averaged. Callers call the head itself.

        Args:
            z: predictions ``(B, T, M, C_predictor)``; losses flow back through them.
            target: ``(B, T, M, C_target)``, without gradient.
            grid: the clip's full token grid.
            positions: ``(B, M)`` patches of the tokens, or None for all.
            seeds: ``(B,)`` integers, one per clip, for what is drawn; None draws from the global
                generator.
        """

    def forward(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """The losses, see ``loss``."""
        return self.loss(z, target, grid, positions, seeds)

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
            z: predictions ``(B, T, M, C_predictor)``.
            noise: standard normal ``(B, T, M, C_target)``.
            grid: the clip's full token grid.
            positions: ``(B, M)`` patches of the tokens, or None for all.
            num_steps: solver steps.
            solver: ``euler`` or ``heun``.

        Returns:
            Targets, as ``noise``.
        """
        raise NotImplementedError(f'{type(self).__name__} has no sample: it generates nothing')


def squared_error(predicted: Tensor, wanted: Tensor, target: Tensor, motion: float) -> Tensor:
    """Mean squared error, of which a share goes to tokens as far as their targets change.

    Args:
        predicted: ``(B, T, M, C)``, or ``(B, T, k, M, C)`` for k flow times.
        wanted: of the same shape.
        target: ``(B, T, M, C_target)``; what counts is its squared change since the tubelet before.
            That of the first tubelet is taken to be that of the second.
        motion: the share, 0 (every token counts alike) to 1. Weights have a mean of 1 over a clip;
            where nothing moves in it, every token counts alike.
    """
    predicted, wanted = predicted.float(), wanted.float()
    if not motion or target.shape[1] < 2:
        return mse_loss(predicted, wanted)
    change = (target[:, 1:] - target[:, :-1]).float().square().mean(-1)
    change = torch.cat([change[:, :1], change], dim=1)
    mean = change.mean((1, 2), keepdim=True)
    share = torch.where(mean > 0, change / mean, torch.ones_like(change))
    weights = 1 - motion + motion * share
    error = (predicted - wanted).square().mean(-1)
    if error.dim() > weights.dim():  # flow times
        weights = weights[:, :, None]
    return (error * weights).mean()


def check_motion(motion: float, name: str) -> float:
    """The share, if it is one.

    Raises:
        ValueError: if it lies outside [0, 1].
    """
    if not 0 <= motion <= 1:
        raise ValueError(f'motion={motion!r} of {name} is a share of the loss, 0 to 1')
    return motion
