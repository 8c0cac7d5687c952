"""The solver against flows whose solution is known."""

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


def test_heun_beats_euler_where_the_velocity_changes_with_time():
    def velocity(h, tau):
        return 3 * tau[:, None].expand_as(h) ** 2

    noise = torch.zeros(2, 1)
    errors = {
        solver: (integrate(velocity, noise, 8, solver) - 1).abs().max().item()
        for solver in ('euler', 'heun')
    }
    assert errors['heun'] < 0.2 * errors['euler']


def test_time_runs_from_zero_to_one():
    seen = []

    def velocity(h, tau):
        seen.append(tau[0].item())
        return h

    integrate(velocity, torch.zeros(1, 1), num_steps=4)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75], abs=1e-6), 'no step goes to waste'


@pytest.mark.parametrize(('kwargs', 'message'), [
    (dict(solver='rk4'), "unknown solver 'rk4'; choose one of euler, heun"),
    (dict(num_steps=0), 'num_steps must be at least 1, found 0'),
])  # fmt: skip
def test_bad_settings_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        integrate(lambda h, tau: h, torch.zeros(1, 1), **kwargs)
