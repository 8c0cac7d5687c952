import torch

from nextvid_mm.flow import linear_path, velocity_from_clean


def test_the_path_runs_from_noise_to_data_at_constant_velocity():
    data, noise = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    start = linear_path(data, noise, torch.zeros(4, dtype=torch.float64))
    end = linear_path(data, noise, torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(start.position, noise)
    torch.testing.assert_close(end.position, data)
    tau = torch.rand(4, dtype=torch.float64)
    later = linear_path(data, noise, tau + 0.1)
    here = linear_path(data, noise, tau)
    torch.testing.assert_close((later.position - here.position) / 0.1, here.velocity)


def test_the_true_data_gives_the_true_velocity():
    data, noise = torch.randn(2, 4, 3, dtype=torch.float64)
    tau = torch.tensor([0.0, 0.3, 0.6, 0.9], dtype=torch.float64)
    path = linear_path(data, noise, tau)
    torch.testing.assert_close(
        velocity_from_clean(data, path.position, tau, floor=0.05), path.velocity
    )


def test_near_the_data_the_division_is_bounded():
    one = torch.ones(1, 1)
    velocity = velocity_from_clean(one, 0 * one, torch.tensor([0.999]), floor=0.05)
    assert velocity.item() == 20.0
