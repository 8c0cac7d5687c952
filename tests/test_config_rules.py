"""Settings that contradict each other; tests/test_mistakes.py has most of them in a real config."""

import inspect

import pytest
from mmengine.config import Config

from nextvid_mm.config_rules import _SHARDING, RULES, Problem
from nextvid_mm.engine.sharding import shard_model


def found(cfg):
    return [problem for rule in RULES for problem in rule(cfg)]


def test_a_path_ends_in_its_key():
    assert Problem('a.b[1].c', '').key == 'c'
    assert Problem('a.b[1]', '').key == '1'


def test_nothing_is_found_in_nothing_and_in_other_loops():
    assert found({}) == []
    other = dict(
        train_cfg=dict(type='EpochBasedTrainLoop'),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        train_dataloader=dict(batch_size=4, num_workers=2, persistent_workers=True),
    )
    assert found(other) == []


@pytest.mark.parametrize(
    ('sources', 'text'),
    [
        ([dict(name='a', weight=0), dict(name='b', weight=0)], 'no source has a weight above 0'),
        ([dict(name='a', weight=1), dict(name='a', weight=1)], "two sources are called 'a'"),
    ],
)
def test_a_mixture_must_have_something_to_draw(sources, text):
    (problem,) = found(dict(train_dataloader=dict(dataset=dict(sources=sources))))
    assert problem == Problem('train_dataloader.dataset.sources', text)


@pytest.mark.parametrize(('ours', 'masks'), [(8, 16), (8, 4), (None, 8)])
def test_masks_are_of_the_encoders_patches(ours, masks):
    backbone = dict(type='CausalViT') if ours is None else dict(type='Mine', patch_size=ours)
    steps = [dict(type='FormatShape'), dict(type='FrameIsolatedMasking', patch_size=masks)]
    cfg = dict(model=dict(backbone=backbone), train_dataloader=dict(dataset=dict(pipeline=steps)))
    (problem,) = found(cfg)
    assert problem.path == 'train_dataloader.dataset.pipeline[1].patch_size'
    assert f'found {masks}, but model.backbone.patch_size is {ours or 16}' in problem.text
    steps[1]['patch_size'] = ours or 16
    assert found(cfg) == []
    steps[1]['patch_size'] = 5
    assert found(cfg | dict(model=dict(backbone=dict(type='Mine')))) == []  # it may have any


def test_a_file_to_start_from_may_be_elsewhere():
    assert found(dict(load_from='https://host/file.pth')) == []
    assert [problem.path for problem in found(dict(load_from='absent.pth'))] == ['load_from']


def test_a_sharded_model_takes_other_keys_than_ddp():
    cfg = dict(runner_type='ShardedRunner', model_wrapper_cfg=dict(units=[], reduce_once=True))
    assert found(cfg) == []
    cfg['model_wrapper_cfg']['gradient_as_bucket_view'] = True
    (problem,) = found(cfg)
    assert problem.path == 'model_wrapper_cfg.gradient_as_bucket_view'
    assert 'which knows units, shard_size' in problem.text
    assert '_delete_=True' in problem.text


def test_the_keys_of_a_sharded_model_are_its_functions():
    parameters = list(inspect.signature(shard_model).parameters)
    assert parameters[1:] == list(_SHARDING)


def test_a_wrapper_is_set_in_one_way():
    cfg = dict(find_unused_parameters=True)
    assert found(cfg) == []
    (problem,) = found(cfg | dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel')))
    assert problem.path == 'find_unused_parameters'
    assert 'has no effect beside model_wrapper_cfg' in problem.text


@pytest.mark.parametrize('path', ['work_dir', 'default_hooks.checkpoint.out_dir'])
def test_a_run_writes_to_folders_of_a_disk(path):
    cfg = Config()
    cfg.merge_from_dict({path: 's3://bucket/run'})
    (problem,) = found(cfg.to_dict())
    assert problem.path == path
    assert "found 's3://bucket/run', which is no folder" in problem.text
    cfg.merge_from_dict({path: 'work_dirs/run'})
    assert found(cfg.to_dict()) == []
