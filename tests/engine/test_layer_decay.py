import pytest
from tiny import CONFIG

from nextvid_mm.engine import LayerDecayConstructor
from nextvid_mm.registry import MODELS

SETTINGS = dict(
    layer_decay_rate=0.5,
    norm_decay_mult=0.0,
    bias_decay_mult=0.0,
    flat_decay_mult=0.0,
    custom_keys={
        'classifier.query': dict(decay_mult=0.0),
        'classifier.norm': dict(decay_mult=0.0),
    },
)


def recognizer(**changes):
    backbone = dict(CONFIG['backbone'], type='nextvid_mm.CausalViT') | changes
    head = dict(type='nextvid_mm.ClipHead', in_channels=24, num_classes=3, num_heads=2)
    return MODELS.build(
        dict(type='Recognizer3D', _scope_='mmaction', backbone=backbone, cls_head=head)
    )


def rates(model):
    """Learning rate and weight decay by the name of the parameter."""
    wrapper = dict(
        type='nextvid_mm.AutocastOptimWrapper',
        optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    )
    groups = LayerDecayConstructor(wrapper, dict(SETTINGS))(model).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert groups[0]['lr'] == 1e-3  # what the log shows is the head's
    return {names[id(p)]: (g['lr'], g['weight_decay']) for g in groups for p in g['params']}


def test_rates_follow_the_formula():
    model = recognizer()
    found = rates(model)
    assert found.keys() == dict(model.named_parameters()).keys()
    last = CONFIG['backbone']['arch']['depth'] + 1
    for name, (lr, decay) in found.items():
        layer = last
        if name.startswith('backbone.patch_embed'):
            layer = 0
        elif name.startswith('backbone.blocks'):
            layer = int(name.split('.')[2]) + 1
        assert lr == 1e-3 * 0.5 ** (last - layer), name
        matrix = name.endswith('weight') and 'norm' not in name
        assert decay == (0.05 if matrix else 0.0), name
    assert {lr for lr, _ in found.values()} == {1e-3 * 0.5**n for n in range(last + 1)}


@pytest.mark.parametrize('tuned', [0, 1, 'norms_and_biases'])
def test_what_is_frozen_has_no_group(tuned):
    found = {name for name in rates(recognizer(tuned=tuned)) if name.startswith('backbone.')}
    last = CONFIG['backbone']['arch']['depth'] - 1
    if tuned == 'norms_and_biases':
        assert 'backbone.blocks.0.norm1.weight' in found
        assert 'backbone.patch_embed.bias' in found
        assert not [n for n in found if n.endswith('weight') and 'norm' not in n]
    else:
        parts = {'backbone.norm.', f'backbone.blocks.{last}.'}
        wanted = parts if tuned else {'backbone.norm.'}
        assert all(name.startswith(tuple(wanted)) for name in found)
        assert len({n.split('.')[1] for n in found}) == len(wanted)


def test_an_optimiser_without_weight_decay_has_a_group_for_each_layer():
    wrapper = dict(type='nextvid_mm.AutocastOptimWrapper', optimizer=dict(type='SGD', lr=1e-3))
    groups = LayerDecayConstructor(wrapper, dict(layer_decay_rate=0.5))(recognizer()).param_groups
    depth = CONFIG['backbone']['arch']['depth']
    assert [group['lr'] for group in groups] == [1e-3 * 0.5**n for n in range(depth + 2)]
    assert {group['weight_decay'] for group in groups} == {0}


def test_unknown_settings_are_refused():
    with pytest.raises(ValueError, match="tuned='half' of CausalViT"):
        recognizer(tuned='half')
    with pytest.raises(ValueError, match=r"paramwise_cfg: unknown \['layer_decay'\]"):
        LayerDecayConstructor(dict(optimizer=dict(type='AdamW')), dict(layer_decay=0.5))
    keys = {'classifier.query': dict(decay_mult=0.0), 'backbone': dict(lr_mult=0.1)}
    with pytest.raises(ValueError, match=r"\['backbone'\]: unknown \['lr_mult'\].*'decay_mult'"):
        LayerDecayConstructor(
            dict(optimizer=dict(type='AdamW', weight_decay=0.1)), dict(custom_keys=keys)
        )
