"""The tiny NextVid under DDP and FSDP2 trains what one process trains, and resumes bit for bit."""

import warnings

import pytest
import torch
from probe_run import make_videos, probe_run
from processes import run
from tiny_training import STAGES, settings
from toy_training import KillHook, read_records, train

from nextvid_mm.engine.probe import OnlineProbeHook
from nextvid_mm.engine.probe.features import cached_dataset

LAST = 'iter_6.pth'
KINDS = {
    'ddp': dict(),
    'fsdp': dict(sharded=True),
    'fsdp with checkpointing': dict(sharded=True, with_cp=True),
    'fsdp, gathered once': dict(
        sharded=True,
        **{
            'model_wrapper_cfg.reshard_after_forward': False,
            'model_wrapper_cfg.reduce_once': True,
            'model_wrapper_cfg.forward_prefetch': 1,
            'model_wrapper_cfg.backward_prefetch': 1,
        },
    ),
}


@pytest.fixture(scope='module')
def single(tmp_path_factory):
    path = tmp_path_factory.mktemp('single')
    train(path, stages=STAGES, **settings())
    return path


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Uninterrupted runs of two processes, by kind."""
    runs = {}

    def get(kind):
        if kind not in runs:
            runs[kind] = tmp_path_factory.mktemp('whole')
            assert run(_train, runs[kind], KINDS[kind], world_size=2) == [0, 0]
        return runs[kind]

    return get


def _train(path, kind, *hooks, **changes):
    warnings.filterwarnings('error', message='FSDP2-wrapped module')  # outputs that are views
    train(path, *hooks, stages=STAGES, launcher='pytorch', **settings(**kind), **changes)


def assert_close_to(path, reference):
    """Equal up to the order of summation: losses to 1e-4, weights to 1e-5 absolute."""
    ours, theirs = (read_records(p / 'records.jsonl') for p in (path, reference))
    assert len(ours) == len(theirs) == 6
    for step, record in theirs.items():
        assert ours[step]['lr'] == record['lr']
        for key, value in record['outputs'].items():
            found = float.fromhex(ours[step]['outputs'][key])
            assert found == pytest.approx(float.fromhex(value), rel=1e-4), (step, key)
        norm = float.fromhex(record['grad_norm'])
        assert float.fromhex(ours[step]['grad_norm']) == pytest.approx(norm, rel=1e-3), step
    weights, expected = (load(p)['state_dict'] for p in (path, reference))
    assert list(weights) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5, msg=name)


def load(path, name=LAST):
    return torch.load(path / name, weights_only=True)


@pytest.mark.parametrize('kind', KINDS)
def test_losses_and_weights_equal_one_process(single, whole, kind):
    assert_close_to(whole(kind), single)


@pytest.mark.slow
@pytest.mark.parametrize('shard_size', [None, 2], ids=['one copy', 'two copies'])
def test_four_processes(tmp_path, single, shard_size):
    kind = dict(sharded=True)
    changes = {'model_wrapper_cfg.shard_size': shard_size}
    assert run(_train_changed, tmp_path, kind, changes, world_size=4) == [0] * 4
    assert_close_to(tmp_path, single)


def _train_changed(path, kind, changes):
    _train(path, kind, **changes)


@pytest.mark.parametrize('kind', ['ddp', 'fsdp'])
@pytest.mark.parametrize('step', [2, 4])
def test_killed_and_resumed_bit_for_bit(tmp_path, whole, kind, step):
    assert run(_train, tmp_path, KINDS[kind], KillHook(step), world_size=2)[0] == 9
    assert not (tmp_path / LAST).exists()
    assert run(_resume, tmp_path, KINDS[kind], world_size=2) == [0, 0]
    ours, theirs = (read_records(p / 'records.jsonl') for p in (tmp_path, whole(kind)))
    assert ours == theirs
    ours, theirs = load(tmp_path), load(whole(kind))
    for name, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][name], value), name
    assert ours['optimizer']['state'].keys() == theirs['optimizer']['state'].keys()
    for index, entry in theirs['optimizer']['state'].items():
        for key, value in entry.items():
            assert torch.equal(ours['optimizer']['state'][index][key], value), (index, key)


def _resume(path, kind):
    _train(path, kind, resume=True)


@pytest.mark.parametrize(('first', 'then'), [('ddp', 'fsdp'), ('fsdp', 'ddp')])
def test_a_checkpoint_serves_the_other_kind(tmp_path, single, first, then):
    assert run(_train, tmp_path, KINDS[first], KillHook(4), world_size=2)[0] == 9
    (tmp_path / 'records.jsonl').unlink()
    assert run(_resume, tmp_path, KINDS[then], world_size=2) == [0, 0]
    ours, theirs = load(tmp_path), load(single)
    for name, value in theirs['state_dict'].items():
        torch.testing.assert_close(ours['state_dict'][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_one_process_resumes_a_sharded_run(tmp_path, single, whole):
    path = whole('fsdp')
    assert (path / 'iter_4.pth').exists()
    (tmp_path / 'iter_4.pth').write_bytes((path / 'iter_4.pth').read_bytes())
    train(tmp_path, stages=STAGES, resume=True, **settings(sharded=True))
    expected = load(single)['state_dict']
    for name, value in load(tmp_path)['state_dict'].items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_sharded_run_with_probes_trains_as_without(tmp_path, whole):
    """What runs before the first step must not become FSDP's root."""
    make_videos(tmp_path / 'videos')
    cfg = probe_run(tmp_path / 'videos', tmp_path)
    sets = {split: cached_dataset(cfg, split) for split in ('train', 'val')}
    assert run(_train_probed, tmp_path / 'run', sets, world_size=2) == [0, 0]
    ours, theirs = (read_records(p / 'records.jsonl') for p in (tmp_path / 'run', whole('fsdp')))
    assert ours == theirs


def _train_probed(path, sets):
    _train(path, KINDS['fsdp'], OnlineProbeHook(interval=3, config=sets, k=3, clips_per_pass=5))
