import pytest
import torch

from nextvid_mm.layers import TokenGrid, gather_patches


def test_a_clip_divides_into_tubelets_and_patches():
    grid = TokenGrid.of_clip(torch.Size([2, 3, 16, 64, 96]), patch_size=16, tubelet_size=2)
    assert grid == TokenGrid(8, 4, 6)
    assert grid.patches == 24
    assert grid.with_frames(3) == TokenGrid(3, 4, 6)


def test_frames_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='15 video frames does not divide.*tubelet_size=2'):
        TokenGrid.of_clip(torch.Size([15, 64, 64]), patch_size=16, tubelet_size=2)


def test_pixels_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match='64x60 px does not divide.*patch_size=16'):
        TokenGrid.of_clip(torch.Size([16, 64, 60]), patch_size=16, tubelet_size=2)


def test_gather_keeps_the_same_patches_of_every_frame():
    tokens = torch.arange(2 * 3 * 4).view(2, 3, 4, 1)
    index = torch.tensor([[0, 3], [1, 2]])
    kept = gather_patches(tokens, index)
    assert kept.shape == (2, 3, 2, 1)
    for b in range(2):
        for t in range(3):
            assert torch.equal(kept[b, t], tokens[b, t, index[b]])
    assert gather_patches(tokens, None) is tokens
    assert torch.equal(gather_patches(tokens, index, frames=2), kept[:, :2])
    assert torch.equal(gather_patches(tokens, None, frames=2), tokens[:, :2])
    assert torch.equal(gather_patches(tokens[:, 1:], index), kept[:, 1:])
