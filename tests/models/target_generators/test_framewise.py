import pytest
import torch
from torch import nn

from nextvid_mm.models.target_generators.framewise import FramewiseTarget


class Means(FramewiseTarget):
    """The mean colour of a frame; counts the frames it sees."""

    channels = 6

    def rename(self, state):
        return state

    def encode_frames(self, frames):
        self.seen.append(len(frames))
        return frames.mean((2, 3))[:, None]

    def decode(self, raw, grid):
        raise AssertionError('not needed here')


def make(**settings):
    target = Means(
        network=nn.Identity(), checkpoint='', latent_channels=3, patch_size=4, tubelet_size=2,
        **settings,
    )  # fmt: skip
    target.seen = []
    return target


def test_frames_of_a_tubelet_are_stacked_on_channels():
    clip = torch.rand(2, 3, 6, 4, 4)
    tokens = make().encode(clip)
    assert tokens.shape == (2, 3, 1, 6)
    torch.testing.assert_close(tokens[1, 2, 0, 3:], clip[1, :, 5].mean((1, 2)))


def test_a_static_clip_costs_one_frame():
    clip = torch.rand(3, 3, 8, 4, 4)
    static = torch.tensor([True, False, True])
    clip[static] = clip[static][:, :, :1].expand(-1, -1, 8, -1, -1)
    target = make()
    expected = target(clip)
    assert target.seen == [3 * 6]
    target.seen.clear()
    assert torch.equal(target(clip, static), expected)
    assert target.seen == [6, 2]


def test_passes_are_bounded_and_change_nothing():
    clip, bounded = torch.rand(1, 3, 6, 4, 4), make(frames_per_pass=4)
    assert torch.equal(bounded.encode(clip), make().encode(clip))
    assert bounded.seen == [4, 2]
    with pytest.raises(ValueError, match='frames_per_pass=0 of Means must be at least 1'):
        make(frames_per_pass=0)
