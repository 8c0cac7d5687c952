import copy

import pytest
import torch
from tiny import CONFIG, clips, samples, wake

from nextvid_mm.registry import MODELS

NECK = CONFIG['neck'] | dict(type='JointPredictor', ahead=0, causal=False)
PIXELS = dict(
    type='MaskedVideoRegression',
    backbone=CONFIG['backbone'] | dict(causal=False),
    neck=NECK,
    head=dict(type='LinearRegressionHead', in_channels=12, target_channels=96),
    target_generator=dict(type='PixelTarget', patch_size=4, norm_pix=True),
)
FEATURES = PIXELS | dict(
    head=dict(type='LinearRegressionHead', in_channels=12, target_channels=24, criterion='l1'),
    target_generator=None,
    reference=dict(type='EMAReference'),
)


def build(config):
    model = MODELS.build(copy.deepcopy(config))
    model.init_weights()
    return wake(model)


@pytest.mark.parametrize('config', [PIXELS, FEATURES], ids=['pixels', 'features'])
def test_every_trained_part_gets_a_gradient(config):
    model = build(config)
    model.loss(clips(), samples())['loss_regression'].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


def test_hidden_pixels_of_all_frames_are_the_target_and_are_never_read():
    model, clip, data = build(PIXELS), clips(), samples(visible=(10,))
    loss = model.loss(clip, data)['loss_regression']
    mask = data.masks[0]
    other = model.backbone.patchify(clip)
    other.scatter_add_(
        2, mask.queried[:, None, :, None].expand(-1, 4, -1, 96), torch.ones(2, 4, 6, 96)
    )
    grid = model.backbone.grid_of(clip)
    z = [
        model.neck(model.backbone(p, grid, mask.visible)[-1], grid, *mask)
        for p in (model.backbone.patchify(clip), other)
    ]
    assert z[0].shape == (2, 4, 6, 12)
    torch.testing.assert_close(*z)
    patches = model.backbone.patchify(clip)
    hidden = patches.gather(2, mask.queried[:, None, :, None].expand(-1, 4, -1, 96))
    colours = hidden.unflatten(-1, (3, -1))
    spread = (colours.var(-1, keepdim=True) + 1e-6).sqrt()
    target = ((colours - colours.mean(-1, keepdim=True)) / spread).flatten(-2)
    torch.testing.assert_close(loss, (model.head.proj(z[0]) - target).square().mean())


def test_joint_attention_hears_of_later_frames():
    model, clip = build(PIXELS).eval(), clips()
    later = clip.clone()
    later[:, :, -2:] = 0
    moved = (model.backbone.encode(clip) - model.backbone.encode(later)).abs().amax((0, 2, 3))
    assert (moved > 0).all()


def test_targets_are_pixels_or_features():
    for wrong in (dict(reference=dict(type='EMAReference')), dict(target_generator=None)):
        with pytest.raises(ValueError, match='a target_generator or a reference, and not both'):
            build(PIXELS | wrong)
    with pytest.raises(ValueError, match='MaskedVideoRegression needs ahead=0'):
        build(PIXELS | dict(neck=NECK | dict(ahead=1, causal=True)))


def test_video_codes_are_refused():
    """They encode a tubelet with the frame before it, which the first one lacks."""

    @MODELS.register_module(force=True)
    class Led(MODELS.get('PixelTarget')):
        lead_frames = 1

    with pytest.raises(ValueError, match='target_generator=Led encodes a tubelet with the frame'):
        build(PIXELS | dict(target_generator=PIXELS['target_generator'] | dict(type='Led')))
    MODELS.module_dict.pop('Led')
