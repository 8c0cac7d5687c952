"""Per-channel standardisation of frozen features.

Shape legend: B clips, N tokens, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist


class RunningStandardizer(nn.Module):
    """Subtracts the mean and divides by the standard deviation of every channel.

    The statistics are those of all features seen in training mode so far, over all processes,
    and used alike in training and evaluation. ``fit`` sets them once and for all.

    Args:
        channels: C.
        eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.register_buffer('mean', torch.zeros(channels))
        self.register_buffer('var', torch.ones(channels))
        self.register_buffer('count', torch.zeros((), dtype=torch.float64))
        self.register_buffer('frozen', torch.zeros((), dtype=torch.bool))

    def fit(self, features: Tensor, rows: int = 256) -> None:
        """Take the statistics of ``(n, ..., C)`` and keep them.

        Args:
            features: may lie on another device, or in a mapped file larger than the memory.
            rows: of n read at once.
        """
        self.count.zero_()
        for part in features.split(rows):
            self._update(part.to(self.mean.device))
        self.frozen.fill_(True)

    def forward(self, features: Tensor) -> Tensor:
        """Standardise ``(..., C)``; the type stays."""
        if self.training and not self.frozen:
            self._update(features)
        scale = (self.var + self.eps).rsqrt()
        return (features * scale - self.mean * scale).to(features.dtype)

    @torch.no_grad()
    def _update(self, features: Tensor) -> None:
        """Merge the statistics of a batch with those so far (Chan et al., 1979)."""
        count, mean, var = _moments(features.flatten(0, -2).float())
        total = self.count + count
        share = (count / total).to(mean.dtype)
        shift = mean - self.mean
        self.var.lerp_(var, share).add_(shift.square() * share * (1 - share))
        self.mean.add_(shift * share)
        self.count.copy_(total)


def _moments(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance of ``(rows, C)`` over the rows of all processes."""
    count = torch.tensor(float(rows.shape[0]), dtype=torch.float64, device=rows.device)
    var, mean = torch.var_mean(rows, dim=0, correction=0)
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        sums = torch.stack([mean.double(), var.double() + mean.double().square()]) * count
        dist.all_reduce(sums)
        dist.all_reduce(count)
        mean, second = sums / count
        var = (second - mean.square()).clamp(min=0).float()
        mean = mean.float()
    return count, mean, var
