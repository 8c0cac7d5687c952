"""The linear probability path of flow matching (arXiv 2210.02747; NExT-Vid §3.3), and its draws.

Every draw comes from a generator seeded by the sample's own seed, so that a loss does not depend on
which process, batch or order a sample was seen in, and no generator state has to be saved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PathSample:
    """A point on the path from noise (tau = 0) to data (tau = 1).

    Attributes:
        position: ``h_tau = (1 - tau) * noise + tau * data``.
        velocity: ``d h_tau / d tau = data - noise``, the regression target.
        tau: the time, one per leading row.
    """

    position: Tensor
    velocity: Tensor
    tau: Tensor


def linear_path(data: Tensor, noise: Tensor, tau: Tensor) -> PathSample:
    """Sample the linear path.

    Args:
        data: ``(B, ...)`` clean target h1.
        noise: as ``data``, standard normal h0.
        tau: ``(B,)`` in [0, 1].
    """
    weight = tau.reshape(-1, *[1] * (data.dim() - 1))
    return PathSample(torch.lerp(noise, data, weight), data - noise, tau)


def velocity_from_clean(clean: Tensor, position: Tensor, tau: Tensor, floor: float) -> Tensor:
    """Velocity that leads from ``position`` at ``tau`` to the predicted ``clean`` data.

    Args:
        clean: predicted data ``(B, ...)``.
        position: ``h_tau``, as ``clean``.
        tau: ``(B,)``.
        floor: smallest ``1 - tau`` to divide by, which bounds the loss weight near the data.
    """
    remaining = (1 - tau).clamp_min(floor).reshape(-1, *[1] * (clean.dim() - 1))
    return (clean - position) / remaining


@dataclass(frozen=True)
class FlowDraw:
    """Times and noise of one batch.

    Attributes:
        tau: ``(B, T, k)`` uniform in [0, 1).
        noise: ``(B, T, k, N, C)`` standard normal.
    """

    tau: Tensor
    noise: Tensor


def draw_flow(
    seeds: Sequence[int] | NDArray[np.int64] | None,
    tau_shape: tuple[int, ...],
    noise_shape: tuple[int, ...],
    like: Tensor,
) -> FlowDraw:
    """Draw times and noise for each sample.

    Args:
        seeds: one integer per sample, or None for torch's global generator.
        tau_shape: shape of one sample's times ``(T, k)``.
        noise_shape: shape of one sample's noise ``(T, k, N, C)``.
        like: tensor whose device is used and whose first dimension is the batch.
    """
    device, B = like.device, like.shape[0]
    if seeds is None:
        return FlowDraw(
            torch.rand(B, *tau_shape, device=device), torch.randn(B, *noise_shape, device=device)
        )
    if len(seeds) != B:
        raise ValueError(f'{len(seeds)} sample seeds for a batch of {B} clips')
    tau = torch.empty(B, *tau_shape, device=device)
    noise = torch.empty(B, *noise_shape, device=device)
    generator = torch.Generator(device)
    for row, seed in enumerate(seeds):
        generator.manual_seed(int(seed) % 2**63)
        tau[row].uniform_(generator=generator)
        noise[row].normal_(generator=generator)
    return FlowDraw(tau, noise)
