"""From noise to data along the learned velocity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nextvid_mm.checks import check_count

SOLVERS = ('euler', 'heun')

Velocity = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def integrate(
    velocity: Velocity, noise: Tensor, num_steps: int = 20, solver: str = 'euler'
) -> Tensor:
    """Integrate ``d h / d tau = velocity(h, tau)`` from noise at 0 to data at 1 in equal steps.

    Args:
        velocity: function of position ``(B, ...)`` and time ``(B,)``.
        noise: ``(B, ...)`` standard normal.
        num_steps: solver steps.
        solver: ``euler``, or ``heun``, which evaluates the velocity twice in each step.

    Returns:
        Data, as ``noise``.

    Raises:
        ValueError: for an unknown solver or no step.
    """
    if solver not in SOLVERS:
        raise ValueError(f'unknown solver {solver!r}; choose one of {", ".join(SOLVERS)}')
    check_count(num_steps, 'num_steps')
    return (_euler if solver == 'euler' else _heun)(velocity, noise, num_steps)


def _euler(velocity: Velocity, noise: Tensor, num_steps: int) -> Tensor:
    """Euler's method by diffusers, which counts noise levels ``sigma = 1 - tau`` down from 1."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    # Equal steps; the scheduler's own grid spends its last one on the last thousandth.
    sigmas = [1 - step / num_steps for step in range(num_steps)]
    scheduler.set_timesteps(sigmas=sigmas, device=noise.device)
    position = noise
    for timestep in scheduler.timesteps:
        tau = (1 - timestep / scheduler.config.num_train_timesteps).clamp(0, 1)
        # It wants the derivative along sigma.
        derivative = -velocity(position, tau.expand(noise.shape[0]).to(noise.dtype))
        position = scheduler.step(derivative, timestep, position).prev_sample
    return position


def _heun(velocity: Velocity, noise: Tensor, num_steps: int) -> Tensor:
    """Heun's method.

    diffusers' scheduler of that name ends with an Euler step over the last thousandth, whatever its
    arguments: it divides by the noise level at the end of each Heun step, which may not be 0.
    """
    position, length = noise, 1 / num_steps
    start, *times = (noise.new_full(noise.shape[:1], n / num_steps) for n in range(num_steps + 1))
    for end in times:
        first = velocity(position, start)
        second = velocity(position + length * first, end)
        position, start = position + length / 2 * (first + second), end
    return position
