import copy

import pytest
import torch
from tiny import CONFIG, build, clips

from nextvid_mm.registry import MODELS


def test_the_entry_point_gives_tokens_and_refuses_other_modes():
    model = MODELS.build(copy.deepcopy(CONFIG))
    assert model(clips()[:, None]).shape == (2, 4, 16, 24)
    with pytest.raises(ValueError, match="mode='predict' of NextVid.forward is not 'loss',"):
        model(clips()[:, None], mode='predict')


def test_a_whole_model_as_a_start_keeps_its_reference(tmp_path):
    model, path = build(), str(tmp_path / 'whole.pth')
    torch.nn.init.constant_(model.backbone.norm.bias, 0.25)
    torch.nn.init.constant_(model.reference.encoder.norm.bias, 0.5)
    torch.save(dict(state_dict=model.state_dict()), path)
    again = build(init_cfg=dict(type='Pretrained', checkpoint=path))
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    state = {k: v for k, v in model.state_dict().items() if k.startswith('backbone.')}
    torch.save(dict(state_dict=state), path)  # which holds none
    again = build(init_cfg=[dict(type='Pretrained', checkpoint=path)])
    assert (again.reference.encoder.norm.bias == 0.25).all()


def test_a_predictor_of_the_same_frame_is_refused():
    neck = CONFIG['neck'] | dict(type='JointPredictor', ahead=0)
    with pytest.raises(ValueError, match='ahead=0 of JointPredictor: NextVid needs ahead=1'):
        MODELS.build(copy.deepcopy(CONFIG) | dict(neck=neck))


def test_targets_of_another_size_are_refused():
    head = dict(type='LinearRegressionHead', in_channels=12, target_channels=95)
    with pytest.raises(
        ValueError,
        match='target_channels=95, but .* of PixelTarget have 96 channels: set model.head.t',
    ):
        MODELS.build(copy.deepcopy(CONFIG) | dict(head=head))


@pytest.mark.parametrize(
    ('slot', 'key', 'wanted'),
    [
        ('neck', 'in_channels', '24 channels of model.backbone'),
        ('align_head', 'in_channels', '12 channels of model.neck'),
        ('align_head', 'out_channels', '24 channels of model.backbone'),
        ('head', 'decoder.condition_channels', '12 channels of model.neck'),
    ],
)
def test_widths_that_do_not_fit_are_named_with_their_key(slot, key, wanted):
    config = copy.deepcopy(CONFIG)
    part = config[slot]['decoder'] if '.' in key else config[slot]
    part[key.rpartition('.')[2]] = 20
    with pytest.raises(ValueError, match=f'model.{slot}.{key}=20 does not fit the {wanted}: set '):
        MODELS.build(config)


@pytest.mark.parametrize(
    ('key', 'value', 'channels'), [('patch_size', 2, 24), ('tubelet_size', 1, 48)]
)
def test_targets_of_other_patches_are_refused(key, value, channels):
    config = copy.deepcopy(CONFIG)
    config['target_generator'][key] = value
    config['head']['decoder']['target_channels'] = channels
    ours = config['backbone'].get(key, 2)
    with pytest.raises(ValueError, match=f'set model.target_generator.{key}={ours}'):
        MODELS.build(config)
