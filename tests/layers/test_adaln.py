import math

import torch

from nextvid_mm.layers import AdaLN, TimestepEmbed, modulate


def test_modulations_start_at_zero_and_leave_tokens_alone():
    shift, scale = AdaLN(8, 2)(torch.randn(3, 8))
    x = torch.randn(3, 5, 8)
    assert shift.shape == (3, 1, 8)
    assert torch.equal(modulate(x, shift, scale), x)


def test_modulate_is_affine():
    x, shift, scale = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(modulate(x, shift, scale), x * (1 + scale) + shift)


def test_times_are_scaled_before_the_sinusoids():
    embed = TimestepEmbed(16, frequency_dim=4, scale=1000.0)
    seen = []
    embed.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    embed(torch.tensor([0.0, 0.25]))
    angle = 250.0
    expected = [math.cos(angle), math.cos(angle / 100), math.sin(angle), math.sin(angle / 100)]
    torch.testing.assert_close(seen[0][0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(seen[0][1], torch.tensor(expected), atol=1e-4, rtol=1e-4)
