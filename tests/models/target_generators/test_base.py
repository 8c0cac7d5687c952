import pytest
import torch

from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.target_generators import PixelTarget


def test_the_first_tubelet_is_never_encoded():
    target = PixelTarget(patch_size=4)
    clip = torch.randn(2, 3, 8, 16, 16)
    blank = clip.clone()
    blank[:, :, :2] = float('nan')
    assert torch.equal(target(clip), target(blank))


def test_the_first_tubelet_is_a_target_where_asked_for():
    target = PixelTarget(patch_size=4)
    clip = torch.randn(2, 3, 8, 16, 16)
    whole = target(clip, first=0)
    assert whole.shape == (2, 4, 16, 96)
    assert torch.equal(whole[:, 1:], target(clip))


def test_normalising_is_undone():
    target = PixelTarget(patch_size=4, mean=0.2, std=0.3)
    raw = torch.randn(2, 3, 4, target.channels, dtype=torch.float64)
    torch.testing.assert_close(target.denormalize(target.normalize(raw)), raw)


def test_statistics_are_not_saved_and_must_be_positive():
    assert not PixelTarget().state_dict()
    with pytest.raises(ValueError, match='std of PixelTarget must be positive, found 0'):
        PixelTarget(std=0.0)


class Counted(PixelTarget):
    """Counts the video frames that are encoded."""

    frames = 0

    def encode(self, clip):
        self.frames += len(clip) * clip.shape[2]
        return super().encode(clip)


@pytest.mark.parametrize('flags', [[True, True], [False, True], [False, False]])
def test_frames_of_static_clips_are_encoded_once(flags):
    clip = torch.rand(2, 3, 8, 16, 16)
    clip[1] = clip[1, :, :1]
    clip[0] = clip[0, :, :1] if flags[0] else clip[0]
    batch = ClipBatch.of([dict(static=flag) for flag in flags])
    target = Counted(patch_size=4)
    assert torch.equal(target(clip, batch), PixelTarget(patch_size=4)(clip))
    assert target.frames == sum(2 if flag else 6 for flag in flags)


def test_values_per_channel_repeat_over_the_parts_of_a_token():
    target = PixelTarget(patch_size=4, mean=[1.0, 2.0], std=[1.0, 4.0])
    raw = torch.rand(1, 2, 3, target.channels)
    expected = torch.stack([raw[..., ::2] - 1, (raw[..., 1::2] - 2) / 4], dim=-1).flatten(-2)
    torch.testing.assert_close(target.normalize(raw), expected)
    torch.testing.assert_close(target.denormalize(expected), raw)
