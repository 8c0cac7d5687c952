"""What a predictor is.

Shape legend: B batch, T tubelets, K visible and M queried tokens per tubelet, C channels.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from nextvid_mm.layers import FrameCache, TokenGrid
from nextvid_mm.models.part import Part


class Predictor(Part):
    """Predicts tokens of later tubelets, or hidden ones, from what the encoder saw.

    Write ``forward``; with ``rolls_out = True`` also ``predict_next`` and ``make_cache``.
    """

    ahead = 1
    """Tubelets that a prediction lies after the newest context it reads."""
    rolls_out = False
    """Whether it can predict tubelet after tubelet from a cache."""

    @abstractmethod
    def forward(
        self, context: Tensor, grid: TokenGrid, visible: Tensor | None, queried: Tensor | None
    ) -> Tensor:
        """Predict the tokens ``queried`` of tubelets ahead..T-1.

        Args:
            context: encoder output ``(B, T-ahead, K, C_encoder)`` of tubelets from 0 on; later
                tubelets may follow and are not read.
            grid: the clip's full token grid, T tubelets.
            visible: ``(B, K)`` patches the context covers, or None for all.
            queried: ``(B, M)`` patches to predict, or None for all.

        Returns:
            ``(B, T-ahead, M, C)``.
        """

    def predict_next(
        self,
        context: Tensor,
        grid: TokenGrid,
        cache: FrameCache,
        visible: Tensor | None = None,
        queried: Tensor | None = None,
    ) -> Tensor:
        """Predict the tubelet that follows the context, whose earlier tubelets are in ``cache``.

        Args:
            context: encoder output ``(B, T, K, C_encoder)`` of the T new tubelets only.
            grid: token grid of the new tubelets.
            cache: from ``make_cache``; the new tubelets are added to it.
            visible: ``(B, K)`` patches the context covers, or None for all.
            queried: ``(B, M)`` patches to predict, or None for all.

        Returns:
            ``(B, 1, M, C)``.
        """
        raise NotImplementedError(f'{type(self).__name__} has no predict_next: it cannot roll out')

    def make_cache(self, window: int) -> FrameCache:
        """An empty cache for ``predict_next`` that keeps ``window`` tubelets."""
        raise NotImplementedError(f'{type(self).__name__} has no make_cache: it cannot roll out')
