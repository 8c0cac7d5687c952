"""What a head of pretraining is.

Shape legend: B batch, T predicted tubelets, M tokens per tubelet, C channels.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor

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
