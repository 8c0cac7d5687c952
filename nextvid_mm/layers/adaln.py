"""Conditioning on the flow time by adaptive layer norm (DiT, arXiv 2212.09748, §3.2).

Shape legend: B batch, N tokens, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .precision import ExactBuffers


class TimestepEmbed(ExactBuffers):
    """Sinusoids of the flow time, then a two-layer MLP.

    Args:
        dim: output channels.
        frequency_dim: number of sinusoids, even.
        scale: the time in [0, 1] is multiplied by this, so that a schedule made for diffusion
            steps 0..1000 keeps its resolution (the paper's timestep scale).
    """

    def __init__(self, dim: int, frequency_dim: int = 256, scale: float = 1000.0):
        super().__init__()
        self.scale = scale
        half = frequency_dim // 2
        frequency = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        self.register_buffer('frequency', frequency, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, tau: Tensor) -> Tensor:
        """``(B,)`` times in [0, 1] to ``(B, C)``."""
        angle = self.scale * tau[:, None] * self.frequency
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(self.mlp[0].weight.dtype))


class AdaLN(nn.Module):
    """``num_chunks`` modulation vectors from a condition; zero at the start (adaLN-Zero).

    Args:
        dim: channels of condition and of each vector.
        num_chunks: 6 in a block (shift, scale, gate of two branches), 2 before the output.
    """

    def __init__(self, dim: int, num_chunks: int):
        super().__init__()
        self.num_chunks = num_chunks
        self.linear = nn.Linear(dim, num_chunks * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """``(B, C)`` to vectors ``(B, 1, C)`` that broadcast over tokens."""
        return self.linear(nn.functional.silu(condition))[:, None].chunk(self.num_chunks, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x * (1 + scale) + shift``."""
    return torch.addcmul(shift, x, 1 + scale)
