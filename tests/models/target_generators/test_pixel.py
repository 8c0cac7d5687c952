import pytest
import torch
from torch.nn.functional import avg_pool3d

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.target_generators import PixelTarget

GRID = TokenGrid(3, 4, 4)


def test_whole_pixels_make_the_round_trip():
    target = PixelTarget(patch_size=4, std=0.5)
    clip = torch.rand(2, 3, 8, 16, 16) * 2 - 1
    clean = target(clip)
    assert clean.shape == (2, 3, 16, target.channels)
    torch.testing.assert_close(target.to_pixels(clean, GRID), clip[:, :, 2:])


def test_pooled_pixels_are_means_and_come_back_smooth():
    target = PixelTarget(patch_size=4, pool=2)
    clip = torch.rand(2, 3, 8, 16, 16) * 2 - 1
    clean = target(clip)
    assert target.channels == 3 * 2 * 2 * 2 == clean.shape[-1]
    pixels = target.to_pixels(clean, GRID)
    assert pixels.shape == clip[:, :, 2:].shape
    means = avg_pool3d(clip[:, :, 2:], (6, 16, 16)), avg_pool3d(pixels, (6, 16, 16))
    torch.testing.assert_close(*means, atol=0.05, rtol=0)


def test_every_colour_of_a_cube_can_be_normalised_by_itself_but_not_shown():
    target = PixelTarget(patch_size=4, norm_pix=True)
    colours = torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1, 1)
    clean = target(colours * torch.rand(2, 3, 8, 16, 16)).unflatten(-1, (3, -1))
    torch.testing.assert_close(clean.mean(-1), torch.zeros(2, 3, 16, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(clean.std(-1), torch.ones(2, 3, 16, 3), atol=1e-2, rtol=0)
    with pytest.raises(ValueError, match='norm_pix=True of PixelTarget'):
        target.to_pixels(clean, GRID)


def test_residual_targets_are_what_has_changed_and_nothing_in_stills():
    target = PixelTarget(patch_size=4, pool=2, std=0.25, residual=True)
    plain = PixelTarget(patch_size=4, pool=2, std=0.25)
    clip = torch.rand(2, 3, 8, 16, 16) * 2 - 1
    pixels = plain(clip, first=0)
    torch.testing.assert_close(target(clip), pixels[:, 1:] - pixels[:, :-1])
    still = clip[:, :, :1].expand_as(clip)
    assert not target(still).any()
    assert target.encode_static(still).shape == (2, 3, 16, target.channels)
    with pytest.raises(ValueError, match='residual=True of PixelTarget'):
        target.to_pixels(target(clip), GRID)


def test_a_pool_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match='pool=3 of PixelTarget does not divide patch_size=16'):
        PixelTarget(pool=3)
