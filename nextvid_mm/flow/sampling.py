"""From noise to data along the learned velocity, driven by diffusers' flow-matching schedulers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SOLVERS = ('euler', 'heun')


def make_scheduler(solver: str = 'euler') -> Any:
    """diffusers scheduler of a solver name.

    Raises:
        ValueError: for an unknown solver.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler, FlowMatchHeunDiscreteScheduler

    schedulers = {'euler': FlowMatchEulerDiscreteScheduler, 'heun': FlowMatchHeunDiscreteScheduler}
    if solver not in schedulers:
        raise ValueError(f'unknown solver {solver!r}; choose one of {", ".join(SOLVERS)}')
    return schedulers[solver](num_train_timesteps=1000)


@torch.no_grad()
def integrate(
    velocity: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    num_steps: int = 20,
    solver: str = 'euler',
) -> Tensor:
    """Integrate ``d h / d tau = velocity(h, tau)`` from noise at 0 to data at 1.

    diffusers counts noise levels ``sigma = 1 - tau`` from 1 down to 0 and expects the derivative
    along sigma, which is minus the velocity.

    Args:
        velocity: function of position ``(B, ...)`` and time ``(B,)``.
        noise: ``(B, ...)`` standard normal.
        num_steps: solver steps (Heun evaluates the velocity twice in each).
        solver: ``euler`` or ``heun``.

    Returns:
        Data, as ``noise``.
    """
    if num_steps < 1:
        raise ValueError(f'num_steps must be at least 1, found {num_steps}')
    scheduler = make_scheduler(solver)
    if solver == 'euler':
        # Equal steps; the scheduler's own grid spends its last one on the last thousandth.
        sigmas = [1 - step / num_steps for step in range(num_steps)]
        scheduler.set_timesteps(sigmas=sigmas, device=noise.device)
    else:
        scheduler.set_timesteps(num_steps, device=noise.device)
    position = noise
    for timestep in scheduler.timesteps:
        tau = (1 - timestep / scheduler.config.num_train_timesteps).clamp(0, 1)
        derivative = -velocity(position, tau.expand(noise.shape[0]).to(noise.dtype))
        position = scheduler.step(derivative, timestep, position).prev_sample
    return position
