"""The solver against flows whose solution is known."""

import math

import pytest
import torch

from nextvid_mm.flow import integrate


@pytest.mark.parametrize('solver', ['euler', 'heun'])
def test_a_straight_flow_is_solved_exactly(solver):
    data, noise = torch.randn(2, 6, 3, 4)
    result = integrate(lambda h, tau: data - noise, noise, num_steps=4, solver=solver)
    torch.testing.assert_close(result, data, atol=1e-3, rtol=1e-3)


def test_the_marginal_velocity_of_a_point_leads_there_from_anywhere():
    """For data at one point x the velocity field is (x - h) / (1 - tau)."""
    point = torch.randn(3)
    noise = torch.randn(10, 3)
    result = integrate(
        lambda h, tau: (point - h) / (1 - tau[:, None]).clamp_min(1e-3), noise, num_steps=50
    )
    torch.testing.assert_close(result, point.expand(10, 3), atol=2e-2, rtol=2e-2)


def curved(h, tau):
    """A flow with the solution h0 * exp(sin(2 pi tau) / 2 + tau)."""
    rate = math.pi * torch.cos(2 * math.pi * tau) + 1
    return h * rate.reshape(-1, *[1] * (h.dim() - 1))


def textbook_heun(velocity, noise, num_steps):
    """The explicit trapezoidal rule, one step after the other."""
    h = noise
    for n in range(num_steps):
        tau = torch.full((len(h),), n / num_steps, dtype=h.dtype)
        k1 = velocity(h, tau)
        k2 = velocity(h + k1 / num_steps, tau + 1 / num_steps)
        h = h + (k1 + k2) / (2 * num_steps)
    return h


@pytest.mark.parametrize('num_steps', [1, 2, 4, 20])
def test_heun_is_as_many_equal_steps_of_heuns_method(num_steps):
    noise = torch.randn(3, 4, dtype=torch.float64)
    result = integrate(curved, noise, num_steps, 'heun')
    torch.testing.assert_close(result, textbook_heun(curved, noise, num_steps))
    torch.testing.assert_close(
        integrate(curved, noise, 2000, 'heun'), noise * math.e, rtol=1e-5, atol=0
    )


def test_heun_is_of_second_order_and_euler_of_first():
    noise = torch.ones(1, 1, dtype=torch.float64)

    def error(solver, num_steps):
        return (integrate(curved, noise, num_steps, solver) - math.e).abs().item()

    assert error('heun', 40) / error('heun', 80) == pytest.approx(4, rel=0.1)
    assert error('euler', 80) / error('euler', 160) == pytest.approx(2, rel=0.1)
    assert error('heun', 20) < 0.2 * error('euler', 40), 'at equal cost'


def test_time_runs_from_zero_to_one():
    seen = []

    def velocity(h, tau):
        seen.append(tau[0].item())
        return h

    integrate(velocity, torch.zeros(1, 1), num_steps=4)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75], abs=1e-6), 'no step goes to waste'
    seen.clear()
    integrate(velocity, torch.zeros(1, 1), num_steps=2, solver='heun')
    assert seen == [0, 0.5, 0.5, 1], 'both ends of equal steps'


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(solver='rk4'), "unknown solver 'rk4'; choose one of euler, heun"),
    (dict(num_steps=0), 'num_steps=0 must be a whole number of at least 1'),
])  # fmt: skip
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        integrate(lambda h, tau: h, torch.zeros(1, 1), **kwargs)
