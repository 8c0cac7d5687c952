import torch

from nextvid_mm.visualization.attention_maps import overlay_attention


def test_only_attended_places_change_and_the_scale_does_not_matter():
    clip = torch.rand(3, 8, 32, 32) * 2 - 1
    attention = torch.zeros(4, 2, 2)
    attention[1, 0, 0] = 1.0
    painted = overlay_attention(clip, attention, tubelet_size=2)
    shown = clip[:, 1::2]
    assert painted.shape == shown.shape
    assert torch.allclose(painted[:, [0, 2, 3]], shown[:, [0, 2, 3]])
    assert not torch.allclose(painted[:, 1, :8, :8], shown[:, 1, :8, :8])
    assert torch.allclose(painted[:, 1, 24:, 24:], shown[:, 1, 24:, 24:])
    assert torch.allclose(painted, overlay_attention(clip, attention * 1e-4, 2), atol=1e-6)
