import pytest
import torch

from nextvid_mm.flow import draw_flow, linear_path, velocity_from_clean


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


SHAPES = dict(tau_shape=(3, 2), noise_shape=(3, 2, 5, 4))


def draw(seeds, batch):
    return draw_flow(seeds, like=torch.empty(batch), **SHAPES)


def test_a_sample_draws_the_same_in_any_batch():
    whole = draw([7, 8, 9], 3)
    alone = draw([8], 1)
    assert torch.equal(whole.tau[1], alone.tau[0])
    assert torch.equal(whole.noise[1], alone.noise[0])
    assert not torch.equal(whole.noise[0], whole.noise[1])


def test_times_are_uniform_and_noise_is_normal():
    many = draw(list(range(2000)), 2000)
    assert 0 <= many.tau.min() < 0.01
    assert 0.99 < many.tau.max() < 1
    assert many.tau.mean().item() == pytest.approx(0.5, abs=0.01)
    assert many.noise.mean().item() == pytest.approx(0, abs=0.01)
    assert many.noise.std().item() == pytest.approx(1, abs=0.01)


def test_seeds_of_64_bits_are_taken():
    assert torch.isfinite(draw([2**64 - 1], 1).noise).all()


def test_without_seeds_the_global_generator_is_used():
    torch.manual_seed(3)
    first = draw(None, 2)
    torch.manual_seed(3)
    assert torch.equal(first.noise, draw(None, 2).noise)


def test_a_seed_too_few_is_refused():
    with pytest.raises(ValueError, match='1 sample seeds for a batch of 2 clips'):
        draw([1], 2)
