"""Which weights a new run may start from; loading them is in tests/engine/hooks."""

import pytest
import torch

from nextvid_mm.engine.start_weights import fit_start_weights

MODEL = {
    'backbone.a': torch.zeros(2),
    'backbone.b': torch.zeros(3),
    'neck.a': torch.zeros(4),
    'reference.encoder.a': torch.zeros(2),
    'reference.encoder.b': torch.zeros(3),
    '_extra_state': torch.zeros(1),
}
PLACES = ('backbone', 'reference.encoder')
ENCODER = {'backbone.a': torch.ones(2), 'backbone.b': torch.ones(3)}


def test_a_whole_model_passes_unchanged():
    weights = dict(MODEL)
    assert not fit_start_weights(weights, MODEL, 'x')
    assert weights == MODEL


def test_an_encoder_alone_fills_the_reference_too():
    weights = dict(ENCODER)
    assert fit_start_weights(weights, MODEL, 'x')
    assert set(weights) == {f'{place}.{part}' for place in PLACES for part in 'ab'}
    assert torch.equal(weights['reference.encoder.b'], torch.ones(3))


def test_an_encoder_alone_for_a_model_without_reference():
    weights = dict(ENCODER)
    present = {name: v for name, v in MODEL.items() if not name.startswith('reference.')}
    assert fit_start_weights(weights, present, 'x')
    assert weights == ENCODER


def test_names_of_a_wrapped_model_lose_their_prefix():
    weights = {f'module.{name}': value for name, value in ENCODER.items()}
    assert fit_start_weights(weights, MODEL, 'x')
    assert all(not name.startswith('module.') for name in weights)


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ({}, r'missing \(5\): backbone\.a'),
        ({**MODEL, 'neck.b': torch.zeros(1)}, r'unexpected \(1\): neck\.b'),
        ({k: v for k, v in MODEL.items() if 'neck' not in k}, r'missing \(1\): neck\.a \(4,\)'),
        ({**MODEL, 'neck.a': torch.zeros(9)}, r'neck\.a: \(9,\) in the file, \(4,\) expected'),
        ({'backbone.a': torch.ones(2)}, r'missing \(1\): backbone\.b'),
        ({**ENCODER, 'backbone.c': torch.ones(1)}, r'unexpected \(1\): backbone\.c'),
    ],
)
def test_anything_else_is_refused_with_names(weights, message):
    with pytest.raises(ValueError, match=r'^load_from=x: [\s\S]*' + message):
        fit_start_weights(weights, MODEL, 'load_from=x')
