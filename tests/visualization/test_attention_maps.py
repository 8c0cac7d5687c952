import torch

from nextvid_mm.visualization.attention_maps import overlay_attention


def test_attended_places_glow_the_rest_is_grey_and_the_scale_does_not_matter():
    clip = torch.rand(3, 8, 32, 32) * 2 - 1
    attention = torch.zeros(4, 2, 2)
    attention[1, 0, 0] = 1.0
    painted = overlay_attention(clip, attention, tubelet_size=2)
    shown = clip[:, 1::2]
    assert painted.shape == shown.shape
    grey = (shown.mean(0, keepdim=True) + 1) * 0.5 - 1
    elsewhere = [painted[:, [0, 2, 3]], painted[:, 1, 24:, 24:]]
    for part, plain in zip(elsewhere, [grey[:, [0, 2, 3]], grey[:, 1, 24:, 24:]], strict=True):
        assert torch.allclose(part, plain.expand_as(part), atol=1e-6)
    assert (painted[0, 1, :8, :8] > grey[0, 1, :8, :8].amax()).all(), 'red is what glows most'
    assert torch.allclose(painted, overlay_attention(clip, attention * 1e-4, 2), atol=1e-6)
