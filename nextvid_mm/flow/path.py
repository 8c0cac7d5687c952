"""The linear probability path of flow matching (arXiv 2210.02747; NExT-Vid §3.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
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
