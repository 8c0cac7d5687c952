"""Masks of a batch, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchMask:
    """One masking strategy over a batch.

    Attributes:
        visible: ``(B, K)`` patch numbers inside a frame that the encoder sees; None for all.
        queried: ``(B, M)`` patch numbers that are predicted; None for all.
    """

    visible: Tensor | None
    queried: Tensor | None


def collate_masks(masks: Sequence[Sequence[dict]], device: torch.device) -> list[BatchMask]:
    """Stack the masks of the samples of a batch, strategy by strategy.

    Args:
        masks: for each sample, for each strategy, ``visible`` and ``hidden`` index vectors as
            made by ``FrameIsolatedMasking``.
        device: where the tensors go.
    """
    stacked = []
    for strategy in zip(*masks, strict=True):
        visible = torch.stack([torch.as_tensor(m['visible']) for m in strategy])
        hidden = torch.stack([torch.as_tensor(m['hidden']) for m in strategy])
        stacked.append(
            BatchMask(visible.to(device, non_blocking=True), hidden.to(device, non_blocking=True))
        )
    return stacked
