import pytest
import torch

from nextvid_mm.models.target_generators import PixelTarget


def test_the_first_tubelet_is_never_encoded():
    target = PixelTarget(patch_size=4)
    clip = torch.randn(2, 3, 8, 16, 16)
    blank = clip.clone()
    blank[:, :, :2] = float('nan')
    assert torch.equal(target(clip), target(blank))


def test_normalising_is_undone():
    target = PixelTarget(patch_size=4, mean=0.2, std=0.3)
    raw = torch.randn(2, 3, 4, target.channels, dtype=torch.float64)
    torch.testing.assert_close(target.denormalize(target.normalize(raw)), raw)


def test_statistics_are_not_saved_and_must_be_positive():
    assert not PixelTarget().state_dict()
    with pytest.raises(ValueError, match='std of PixelTarget must be positive, found 0'):
        PixelTarget(std=0.0)
