"""What comes with the pixels of a batch, as tensors.

Made by the collate function of the loader; named tuples, so that PyTorch pins and MMEngine moves
them as they stand.

Shape legend: B clips, T frames (tubelets), N patches per frame, K visible and M queried ones,
C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Odd 64-bit constant: keeps the draws of the masking strategies of one clip apart.
STRATEGY_SEED = 0x9E3779B97F4A7C15


class BatchMask(NamedTuple):
    """One masking strategy over a batch."""

    visible: Tensor | None
    """``(B, K)`` patch numbers inside a frame that the encoder sees; None for all."""
    queried: Tensor | None
    """``(B, M)`` patch numbers that are predicted; None for all."""


class ClipBatch(NamedTuple):
    """Masks, seeds and cached targets of B clips."""

    masks: tuple[BatchMask, ...]
    """One for each masking strategy; empty where nothing is masked."""
    seeds: NDArray[np.int64] | None
    """``(B,)``, below 2**63. An array: generators are seeded by the host, so it stays there. None:
    what is drawn comes from the global generator."""
    moving: Tensor
    """Numbers of the clips whose frames differ, int64."""
    still: Tensor
    """Numbers of the clips that are one picture all the time, int64."""
    target: Tensor | None
    """Cached targets ``(B, T-1, N, C)``; ``(B, 1, N, C)`` if all clips are still. Mostly None."""
    info: Sequence[dict[str, Any]]
    """What is known of each clip (``path``, ``source``, ``position``), for hooks and messages."""

    @classmethod
    def of(
        cls,
        info: Sequence[dict[str, Any]],
        masks: Sequence[BatchMask] = (),
        target: Tensor | None = None,
    ) -> ClipBatch:
        """A batch from what its clips say of themselves.

        Args:
            info: for each clip; ``sample_seed`` and ``static`` are read here.
            masks: for each strategy.
            target: cached targets.
        """
        seeded = all('sample_seed' in clip for clip in info)
        static = torch.tensor([bool(clip.get('static', False)) for clip in info], dtype=torch.bool)
        return cls(
            tuple(masks),
            np.array([int(c['sample_seed']) for c in info], dtype=np.int64) if seeded else None,
            (~static).nonzero().flatten(),
            static.nonzero().flatten(),
            target,
            list(info),
        )

    def seeds_of(self, strategy: int) -> NDArray[np.int64] | None:
        """Seeds ``(B,)`` of the draws under one masking strategy."""
        return None if self.seeds is None else self.seeds ^ (STRATEGY_SEED * strategy % 2**63)

    def take(self, chosen: slice | Sequence[int]) -> ClipBatch:
        """The batch of some of the clips."""
        rows = range(len(self.info))[chosen] if isinstance(chosen, slice) else chosen
        index = torch.tensor(list(rows), dtype=torch.long)
        masks = [
            BatchMask(*(part if part is None else part[index.to(part.device)] for part in mask))
            for mask in self.masks
        ]
        target = self.target if self.target is None else self.target[index.to(self.target.device)]
        taken = self.of([self.info[row] for row in rows], masks, target)
        device = self.moving.device
        return taken._replace(moving=taken.moving.to(device), still=taken.still.to(device))
