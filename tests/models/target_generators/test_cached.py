import pytest
import torch
from tiny import build, clips, sample, samples

from nextvid_mm.datasets import collate_clips
from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.target_generators import CachedLatentTarget, PixelTarget

CACHED = dict(type='CachedLatentTarget', channels=96, patch_size=4)


def with_targets(clip, target, static=False):
    made = []
    for number, value in enumerate(target):
        packed = sample(sample_seed=number, path='a.mp4', static=static)
        packed.set_field(value[:1] if static else value, 'target')
        made.append(dict(inputs=clip[number], data_samples=packed))
    return collate_clips(made)['data_samples']


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
    target = CachedLatentTarget(96, patch_size=4)(clip, data)
    assert target.dtype == torch.float32
    torch.testing.assert_close(target, expected, atol=0, rtol=2**-8)


def test_targets_that_are_absent_or_of_another_clip_are_refused():
    clip, target = clips(), CachedLatentTarget(96, patch_size=4)
    with pytest.raises(ValueError, match='without targets: set .*type=CachedMixtureDataset'):
        target(clip, samples())
    data = with_targets(clip, torch.zeros(2, 7, 16, 96))
    with pytest.raises(ValueError, match=r'of a.mp4 has shape \(7, 16, 96\), .* need \(3, 16, 96'):
        target(clip, data)


def test_it_encodes_and_shows_nothing():
    target = CachedLatentTarget(96, patch_size=4)
    with pytest.raises(ValueError, match='use the config with the target generator that was'):
        target(clips())
    with pytest.raises(ValueError, match='use the config with the target generator that was'):
        target.to_pixels(torch.zeros(1, 3, 16, 96), TokenGrid(3, 4, 4))
