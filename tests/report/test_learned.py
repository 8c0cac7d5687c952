"""The parts on toy clips; the demo's test runs ``look_into`` as a whole."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from probing import build_probe, toy_batches
from tiny import build, clips

from nextvid_mm.evaluation.cached_probe import extract_features
from nextvid_mm.report import learned


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('nextvid_mm')


def test_attention_strips_show_the_video_and_the_attention_of_every_clip():
    probe, model = build_probe(), build()
    features = extract_features(probe.eval(), toy_batches(count=6))
    image = learned.attention_strips(probe, clips(2), features, model)
    frames, rows, caption = 4, 4, 14
    assert image.width == frames * 16
    assert image.height == rows * (16 + caption)


def test_without_a_decoder_nothing_is_generated():
    assert learned._generation(SimpleNamespace(head=None), clips(2), [0, 1]) is None


def test_one_probe_of_the_grid_is_enough_and_the_config_stays():
    head = dict(lrs=[5e-3, 1e-3], weight_decays=[0.01, 0.1, 0.4], fixed_member=[1e-3, 0.1])
    config = Config(dict(model=dict(cls_head=head)))
    single = learned._with_one_probe(config)
    assert single.model.cls_head.lrs == [5e-3]
    assert single.model.cls_head.weight_decays == [0.1]
    assert config.model.cls_head.lrs == [5e-3, 1e-3]


def test_class_names_come_from_the_file_beside_the_list(tmp_path):
    dataset = dict(ann_file=str(tmp_path / 'list.txt'))
    config = Config(dict(val_dataloader=dict(dataset=dataset)))
    assert learned._class_names(config, 2) == ['0', '1']
    (tmp_path / 'label_map.txt').write_text('left\nright\n')
    assert learned._class_names(config, 2) == ['left', 'right']
    assert learned._class_names(config, 3) == ['0', '1', '2']


def test_pooled_features_tell_mean_and_deviation():
    tokens = torch.arange(12.0).view(2, 1, 3, 2)
    pooled = learned._pooled(SimpleNamespace(tokens=tokens))
    assert pooled.shape == (2, 4)
    assert pooled[0].tolist() == [2.0, 3.0, 2.0, 2.0]
