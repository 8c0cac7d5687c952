from types import SimpleNamespace

import pytest
import torch
from tiny import build, clips, samples

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.target_generators import CachedLatentTarget, PixelTarget

CACHED = dict(type='CachedLatentTarget', channels=96, patch_size=4)


class Sample(SimpleNamespace):
    """A data sample: fields are members."""

    def __contains__(self, name):
        return hasattr(self, name)


def with_targets(clip, target, static=False):
    made = [Sample(**vars(sample)) for sample in samples(len(clip))]
    for sample, value in zip(made, target, strict=True):
        sample.target = value[:1] if static else value
        sample.metainfo['path'] = 'a.mp4'
    return made


def test_the_loss_is_that_of_the_online_target():
    model, clip = build(), clips()
    data = with_targets(clip, model.target_generator(clip))
    expected = model.loss(clip, data)['loss_flow']
    cached = build(target_generator=CACHED)
    cached.load_state_dict(model.state_dict())
    torch.testing.assert_close(cached.loss(clip, data)['loss_flow'], expected)


def test_static_and_bfloat16_targets_are_unfolded():
    clip = clips()[:, :, :1].expand(-1, -1, 8, -1, -1)
    expected = PixelTarget(patch_size=4)(clip)
    data = with_targets(clip, expected.bfloat16(), static=True)
    target = CachedLatentTarget(96, patch_size=4).targets_of(clip, data)
    assert target.dtype == torch.float32
    torch.testing.assert_close(target, expected, atol=0, rtol=2**-8)


def test_targets_that_are_absent_or_of_another_clip_are_refused():
    clip, target = clips(), CachedLatentTarget(96, patch_size=4)
    with pytest.raises(ValueError, match='without a target: set .*type=CachedMixtureDataset'):
        target.targets_of(clip, [Sample(metainfo={})])
    data = with_targets(clip, torch.zeros(2, 7, 16, 96))
    with pytest.raises(ValueError, match=r'of a.mp4 has shape \(7, 16, 96\), .* need \(3, 16, 96'):
        target.targets_of(clip, data)


def test_it_encodes_and_shows_nothing():
    target = CachedLatentTarget(96, patch_size=4)
    with pytest.raises(ValueError, match='use the config with the target generator that was'):
        target(clips())
    with pytest.raises(ValueError, match='use the config with the target generator that was'):
        target.to_pixels(torch.zeros(1, 3, 16, 96), TokenGrid(3, 4, 4))
