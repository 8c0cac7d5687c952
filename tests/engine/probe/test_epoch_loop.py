"""Probe training: exact resume at any step, and several processes that find what one finds."""

import json
import os

import pytest
import torch
from mmengine.hooks import Hook
from probe_run import NUM_TRAIN, NUM_VAL, make_videos, save_encoder, train
from processes import run

STEPS = 3 * NUM_TRAIN // 4
SAVING = {'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': -1}


class Stop(Hook):
    """Ends the process at step ``step`` without any goodbye, after the checkpoint."""

    priority = 'LOWEST'

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            os._exit(9)


class Losses(Hook):
    def __init__(self):
        self.losses, self.clips = {}, {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses[runner.iter] = outputs['loss'].item()
        self.clips[runner.iter] = [s.metainfo['sample_idx'] for s in data_batch['data_samples']]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """An uninterrupted run: its folder, losses and final weights."""
    root = tmp_path_factory.mktemp('probe')
    make_videos(root / 'data')
    encoder = save_encoder(root / 'encoder.pth')
    record = Losses()
    train(root / 'data', root / 'whole', record, **SAVING, **{'model.encoder': encoder})
    return root, encoder, record


def _killed(root, work_dir, encoder, step):
    train(root / 'data', work_dir, Stop(step), **SAVING, **{'model.encoder': encoder})


@pytest.mark.parametrize('step', [2, 3], ids=['inside an epoch', 'at the end of an epoch'])
def test_a_killed_run_continues_bit_for_bit(whole, tmp_path, step):
    root, encoder, record = whole
    assert run(_killed, root, tmp_path, encoder, step) == [9]
    rest = Losses()
    changes = SAVING | {'model.encoder': encoder, 'resume': True}
    train(root / 'data', tmp_path, rest, **changes)
    assert sorted(rest.losses) == list(range(step, STEPS))
    assert rest.losses == {key: record.losses[key] for key in rest.losses}
    assert rest.clips == {key: record.clips[key] for key in rest.clips}
    ours, theirs = (
        torch.load(path / f'iter_{STEPS}.pth', weights_only=True)
        for path in (tmp_path, root / 'whole')
    )
    for name, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][name], value), name
    _assert_equal(ours['optimizer'], theirs['optimizer'])
    results = [
        json.loads((p / 'probe_results.json').read_text()) for p in (tmp_path, root / 'whole')
    ]
    assert results[0]['members'] == results[1]['members']


def _results(path):
    return json.loads((path / 'probe_results.json').read_text())


def _assert_equal(ours, theirs):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            _assert_equal(ours[key], value)
    elif isinstance(theirs, list):
        for a, b in zip(ours, theirs, strict=True):
            _assert_equal(a, b)
    else:
        assert torch.equal(ours, theirs) if isinstance(theirs, torch.Tensor) else ours == theirs


def _two(root, work_dir, encoder):
    train(root / 'data', work_dir, launcher='pytorch', **{'model.encoder': encoder})


def test_two_processes_train_what_one_trains(whole, tmp_path):
    """Seven validation samples on two processes: each counts once.

    Weights are equal up to the order of summation; twelve training samples leave no copies.
    """
    root, encoder, _ = whole
    assert run(_two, root, tmp_path, encoder, world_size=2) == [0, 0]
    ours, theirs = _results(tmp_path), _results(root / 'whole')
    assert ours['processes'] == 2
    assert ours['num_samples'] == NUM_VAL
    assert ours['members'] == theirs['members']
    assert ours['confusion_matrix'] == theirs['confusion_matrix']
    states = [
        torch.load(p / 'probe.pth', weights_only=True)['state_dict']
        for p in (tmp_path, root / 'whole')
    ]
    for name, value in states[1].items():
        if value.is_floating_point():
            torch.testing.assert_close(states[0][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_batch_that_cannot_be_split(tmp_path, capfd, whole):
    assert run(_two, whole[0], tmp_path, whole[1], world_size=3) == [1, 1, 1]
    message = (
        'batch_size=4 is the batch of all processes together and cannot be split evenly over 3'
    )
    assert message in capfd.readouterr().err
