import pytest
import torch
from torchvision.transforms.functional import normalize

from nextvid_mm.models.backbones.pixels import PixelNorm

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]


def test_it_is_torchvisions_normalisation_of_pixels_in_0_to_1():
    frames = torch.rand(2, 4, 3, 5, 5)
    expected = normalize(frames, MEAN, STD).transpose(1, 2)
    clip = (frames * 2 - 1).transpose(1, 2)
    torch.testing.assert_close(PixelNorm(MEAN, STD)(clip), expected)


def test_it_leaves_the_clip_and_the_checkpoint_alone():
    norm, clip = PixelNorm(MEAN, STD), torch.zeros(1, 3, 2, 4, 4)
    norm(clip)
    assert not clip.any()
    assert not norm.state_dict()


@pytest.mark.parametrize(('mean', 'std'), [([0.5], STD), (MEAN, [0.1, 0.1, 0.0])])
def test_wrong_values_are_refused(mean, std):
    with pytest.raises(ValueError, match='three numbers each, std above 0'):
        PixelNorm(mean, std)
