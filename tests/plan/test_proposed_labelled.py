from pathlib import Path

import pytest
from proposing import settings

from nextvid_mm.config_files import check_config, check_file
from nextvid_mm.plan.proposed_labelled import finetune_text, probe_text
from nextvid_mm.plan.step_time import config_of
from nextvid_mm.registry import MODELS

LISTS = [Path('configs/mine/train.txt'), Path('configs/mine/val.txt')]


@pytest.mark.parametrize('text_of', [probe_text, finetune_text])
def test_the_text_is_a_complete_config(text_of, tmp_path):
    given = settings(segments=2)
    text = text_of(given, 5, 160, LISTS)
    (tmp_path / 'labelled.py').write_text(text)
    check_file(str(tmp_path / 'labelled.py'))
    assert max(map(len, text.splitlines())) <= 100
    config = config_of(text)
    check_config(config)
    assert config.work_dir.startswith('work_dirs/mine/')
    assert config.model.cls_head.num_classes == 5
    for split, path in zip(('train', 'val'), LISTS, strict=True):
        dataset = config[f'{split}_dataloader'].dataset.dataset
        assert dataset.ann_file == str(path)
        assert dataset.get('test_mode', False) == (split == 'val')
        assert dataset.pipeline[1].num_frames == given.num_frames
    assert val_clips(config) == 2


def val_clips(config):
    return config.val_dataloader.dataset.dataset.pipeline[1].num_clips


def test_the_encoder_is_the_one_the_pretraining_ends_with():
    given = settings()
    file = f'work_dirs/mine/pretrain/iter_{sum(s.steps for s in given.stages)}.pth'
    assert config_of(probe_text(given, 5, 160, LISTS)).model.encoder == file
    model = config_of(finetune_text(given, 5, 160, LISTS)).model
    assert model.backbone.init_cfg.checkpoint == file
    model.backbone.init_cfg = None
    built = MODELS.build(model)
    assert built.backbone.embed_dims == given.width


@pytest.mark.parametrize(
    ('on_cpu', 'count', 'batch', 'steps'),
    [
        (True, 6, 2, 201),
        (True, 160, 32, 200),
        (True, 9000, 64, 2820),
        (False, 6, 2, 300),
        (False, 160, 32, 400),
    ],
)
def test_small_sets_are_seen_often(on_cpu, count, batch, steps):
    config = config_of(finetune_text(settings(on_cpu=on_cpu), 5, count, LISTS))
    assert config.train_dataloader.batch_size == batch
    assert config.train_cfg.max_epochs * -(-count // batch) == steps
