"""Every fine-tuning config has only keys that are read, and its model builds."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from nextvid_mm.config_files import check_config
from nextvid_mm.registry import MODELS, TRANSFORMS

FOLDER = Path(__file__).resolve().parents[1] / 'configs/finetune'
FILES = sorted(FOLDER.glob('*.py'))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_model_and_pipelines_build(path):
    cfg = Config.fromfile(path)
    check_config(cfg, str(path))
    blending = cfg.model.data_preprocessor.pop('blending', None)  # its draws need memory
    with DefaultScope.overwrite_default_scope('nextvid_mm'), torch.device('meta'):
        model = MODELS.build(cfg.model)
    head = model.cls_head if 'cls_head' in cfg.model else model.head
    assert head.in_channels == model.backbone.embed_dims
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        with DefaultScope.overwrite_default_scope('nextvid_mm'):
            for step in loader.dataset.pipeline:
                TRANSFORMS.build(step)
    for kind in blending.augments if blending else ():
        assert kind.num_classes == head.num_classes


def test_directed_classes_change_sides_when_mirrored():
    pipeline = Config.fromfile(FOLDER / 'ssv2.py').train_pipeline
    (flip,) = [step for step in pipeline if step.type == 'mmaction.Flip']
    assert {86, 87, 93, 94, 166, 167} == set(flip.flip_label_map)
    assert all(flip.flip_label_map[other] == one for one, other in flip.flip_label_map.items())
