import copy

import pytest
import torch
from tiny import CONFIG, clips, samples, wake

from nextvid_mm.registry import MODELS

NEXT = dict(
    type='NextFrameRegression',
    backbone=CONFIG['backbone'],
    head=dict(type='LinearRegressionHead', in_channels=24, target_channels=96),
    target_generator=CONFIG['target_generator'],
)


def build(**changes):
    model = MODELS.build(copy.deepcopy(NEXT) | changes)
    model.init_weights()
    return wake(model)


def test_a_token_regresses_the_same_place_in_the_next_frame():
    model, clip = build(), clips()
    loss = model.loss(clip, samples())['loss_regression']
    target = model.backbone.patchify(clip)[:, 1:] / 0.5  # the std of PixelTarget
    prediction = model.head.proj(model.backbone.encode(clip)[:, :-1])
    torch.testing.assert_close(loss, (prediction - target).square().mean())
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


def test_an_encoder_that_sees_the_future_is_refused():
    with pytest.raises(ValueError, match='causal=False: NextFrameRegression needs a causal'):
        build(backbone=CONFIG['backbone'] | dict(causal=False))


def test_a_single_tubelet_is_refused():
    with pytest.raises(ValueError, match='at least 2 tubelets'):
        build().loss(clips(frames=2), samples())
