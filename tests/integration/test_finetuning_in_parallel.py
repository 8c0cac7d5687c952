"""Fine-tuning in two processes, whole (DDP) and sharded (FSDP2), trains what one process trains."""

import pytest
import torch
from finetune_run import finetune_run
from mmengine.model import is_model_wrapper
from probe_run import make_videos, save_encoder
from processes import run

from nextvid_mm.config_rules import sharded_has_no_average
from nextvid_mm.registry import build_runner

_CANCELLED = 'qkv.bias'

KINDS = {
    'one': {},
    'ddp': dict(launcher='pytorch'),
    'fsdp': dict(
        launcher='pytorch',
        runner_type='ShardedRunner',
        model_wrapper_cfg=dict(units=['backbone.blocks']),
    ),
}
# What draws from a process's own generator, or averages over its own part of a batch.
QUIET = {
    'model.data_preprocessor.blending': None,
    'model.backbone.drop_path_rate': 0.0,
    'env_cfg.dist_cfg.backend': 'gloo',
    'optim_wrapper.dtype': None,
    'train_cfg.max_epochs': 2,
    'train_cfg.val_interval': 2,
    'default_hooks.checkpoint.interval': 100,
    'default_hooks.checkpoint.save_last': True,
}


def train(root, encoder, kind, more):
    cfg = finetune_run(root, root / kind, encoder, **QUIET)
    cfg.model.backbone.update(more)
    cfg.merge_from_dict(KINDS[kind])
    if kind == 'fsdp':
        cfg.custom_hooks = [dict(type='FaultHook')]  # MMEngine's average copies the whole model
    runner = build_runner(cfg)
    runner.train()
    assert is_model_wrapper(runner.model) == (kind == 'ddp')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    root = make_videos(tmp_path_factory.mktemp('parallel'))
    encoder = save_encoder(root / 'encoder.pth')
    train(root, encoder, 'one', {})
    return root, encoder


def weights(root, kind):
    (path,) = (root / kind).glob('iter_*.pth')
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize('kind', ['ddp', 'fsdp'])
def test_weights_and_their_average_equal_one_process(data, kind):
    root, encoder = data
    assert run(train, root, encoder, kind, {}, world_size=2) == [0, 0]
    ours, expected = weights(root, kind), weights(root, 'one')
    first = torch.load(encoder, weights_only=True)['state_dict']
    # Of a run with the average, `state_dict` is the average and `ema_state_dict` the weights.
    parts = {p: p for p in ('state_dict', 'ema_state_dict')}
    for part, other in ({'state_dict': 'ema_state_dict'} if kind == 'fsdp' else parts).items():
        for name, value in ours[part].items():
            if name.endswith(_CANCELLED) or name == 'steps':
                continue  # the keys' bias has no gradient but rounding, which Adam blows up
            other_name = f'module.{name}' if f'module.{name}' in expected[other] else name
            torch.testing.assert_close(
                value, expected[other][other_name], rtol=1e-3, atol=2e-5, msg=name
            )
    name = 'backbone.blocks.0.attn.qkv.weight'
    start = first[name.replace('backbone', 'reference.encoder')]
    assert (ours['state_dict'][name] - start).abs().max() > 2e-4


def test_the_average_of_a_sharded_model_is_refused_at_once():
    cfg = dict(runner_type='ShardedRunner', custom_hooks=[dict(type='mmengine.EMAHook')])
    (problem,) = sharded_has_no_average(cfg)
    assert problem.path == 'custom_hooks[0]'
    assert 'ShardedRunner' in problem.text
    assert not list(sharded_has_no_average(dict(cfg, custom_hooks=[dict(type='EMAHook')])))
    assert not list(sharded_has_no_average(dict(custom_hooks=cfg['custom_hooks'])))
