import numpy as np
import torch
from PIL import Image

from nextvid_mm.visualization import show_patches, tile_rows
from nextvid_mm.visualization.sheets import overlay_attention


def test_hidden_patches_turn_grey_in_every_frame_and_others_stay():
    clip = torch.rand(2, 3, 4, 8, 8) * 0.5 + 0.25
    painted = show_patches(clip, torch.tensor([[1, 2, 3], [0, 1, 2]]), patch_size=4)
    assert (painted[0, :, :, :4, :4] == 0).all()
    assert (painted[1, :, :, 4:, 4:] == 0).all()
    assert torch.equal(painted[0, :, :, 4:], clip[0, :, :, 4:])
    assert torch.equal(painted[1, :, :, :4], clip[1, :, :, :4])


def test_rows_are_film_strips_under_captions():
    clip = torch.stack([torch.full((4, 6, 6), value) for value in (-1.0, 0.0, 1.0)])
    sheet = tile_rows([('a', clip), ('b', clip[:, :2])], zoom=2)
    assert isinstance(sheet, Image.Image)
    assert sheet.size == (4 * 6 * 2, 2 * (14 + 12))
    pixels = np.asarray(sheet)
    assert pixels[20, 5].tolist() == [0, 128, 255]
    assert pixels[-1, -1].tolist() == [255, 255, 255], 'a shorter strip is padded with white'


def test_a_caption_may_be_longer_than_its_strip():
    clip = torch.ones(3, 40, 6, 6)
    pixels = np.asarray(tile_rows([('a', clip), ('many letters ' * 4, clip[:, :1])], zoom=1))
    assert (pixels[20:34, 100:200] < 128).any()


def test_frames_can_stand_apart():
    clip = torch.full((3, 3, 6, 6), -1.0)
    pixels = np.asarray(tile_rows([('a', clip)], zoom=1, gap=2))
    assert pixels.shape[1] == 3 * 6 + 2 * 2
    assert (pixels[-1].mean(axis=1) == 255).tolist() == ([False] * 6 + [True] * 2) * 2 + [False] * 6


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
