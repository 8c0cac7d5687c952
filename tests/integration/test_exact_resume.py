"""Killed at any moment and resumed, a run gives the same numbers, bit for bit.

The toy model draws dropout and noise; the loader has worker processes; every stage accumulates or
not; the log, the learning rates, the gradient norms and all losses of every step are compared with
an uninterrupted run, and so are the final weights, reference encoder and optimiser.
"""

import os
import random
import signal
import time

import pytest
import torch
from processes import run, spawn, wait
from toy_training import STAGES, KillHook, RecordHook, make_runner, read_records, train

EVERY_2 = {
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.checkpoint.save_last': True,
    'train_dataloader.num_workers': 2,
}
SPLIT = [stage | dict(micro_batch_size=2) for stage in STAGES]
LAST = 'iter_16.pth'


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The uninterrupted run, by number of processes."""
    runs = {}

    def get(world_size):
        if world_size not in runs:
            path = tmp_path_factory.mktemp(f'whole{world_size}')
            assert run(_train, path, world_size, world_size=world_size) == [0] * world_size
            runs[world_size] = path
        return runs[world_size]

    return get


def _train(path, world_size, *hooks, resume=False, **changes):
    launcher = 'pytorch' if world_size > 1 else 'none'
    settings = EVERY_2 | dict(launcher=launcher, resume=resume) | changes
    train(path, *hooks, stages=SPLIT, **settings)


def assert_same_run(path, reference):
    assert read_records(path / 'records.jsonl') == read_records(reference / 'records.jsonl')
    ours, theirs = (torch.load(p / LAST, weights_only=True) for p in (path, reference))
    for key in ('state_dict', 'optimizer'):
        assert_equal(ours[key], theirs[key], key)
    history = [c['message_hub']['log_scalars']['train/loss'].data[0] for c in (ours, theirs)]
    assert (history[0] == history[1]).all()  # the smoothed losses in the log go on, too


def assert_equal(a, b, where):
    if isinstance(a, dict):
        assert list(a) == list(b), where
        for key in a:
            assert_equal(a[key], b[key], f'{where}.{key}')
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for number, pair in enumerate(zip(a, b, strict=True)):
            assert_equal(*pair, f'{where}.{number}')
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    else:
        assert a == b, where


@pytest.mark.parametrize('middle', [False, True], ids=['after', 'within'])
@pytest.mark.parametrize('step', [0, 3, 6, 9, 14])
def test_killed_at_a_step_of_any_stage(tmp_path, whole, step, middle):
    assert run(_train, tmp_path, 1, KillHook(step, middle)) == [9]
    assert not (tmp_path / LAST).exists()
    assert run(_resume, tmp_path, 1) == [0]
    assert_same_run(tmp_path, whole(1))


def _resume(path, world_size):
    _train(path, world_size, resume=True)


def test_sigkill_at_random_moments(tmp_path, whole):
    """SIGKILL from outside, wherever it hits: while starting, training, saving or ending."""
    draw = random.Random(0)
    for kill in range(4):
        (process,) = spawn(_slow_train, tmp_path, kill > 0)
        time.sleep(draw.uniform(0.2, 1.2))
        os.kill(process.pid, signal.SIGKILL)
        wait([process])
    assert run(_resume, tmp_path, 1) == [0]
    assert_same_run(tmp_path, whole(1))


class Sleep(RecordHook):
    def __init__(self):
        super().__init__(os.devnull)

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(0.01)


def _slow_train(path, resume):
    _train(path, 1, Sleep(), resume=resume)


def test_two_processes_killed_and_resumed(tmp_path, whole):
    codes = run(_train, tmp_path, 2, KillHook(6), world_size=2)
    assert codes[0] == 9
    assert run(_resume, tmp_path, 2, world_size=2) == [0, 0]
    assert_same_run(tmp_path, whole(2))


def test_no_clip_is_decoded_again(tmp_path):
    log = tmp_path / 'decoded.txt'
    settings = {'train_dataloader.dataset.log': str(log), 'train_dataloader.num_workers': 0}
    _train(tmp_path, 1, resume=False, **settings)
    decoded = [int(line) for line in log.read_text().split()]
    assert decoded == list(range(12 * 8 + 4 * 4))
    log.unlink()
    for path in tmp_path.glob('iter_*.pth'):
        if path.name not in ('iter_14.pth',):
            path.unlink()
    _train(tmp_path, 1, resume=True, **settings)
    assert [int(line) for line in log.read_text().split()] == decoded[-8:]


def test_a_random_seed_comes_back_with_the_checkpoint(tmp_path):
    """Without a configured seed each process draws one; resuming continues with the first."""
    changes = EVERY_2 | {'randomness.seed': None}
    first = make_runner(tmp_path, SPLIT, **changes)
    first.register_hook(RecordHook(tmp_path / 'records.jsonl'))
    first.train()
    (tmp_path / LAST).unlink()
    second = make_runner(tmp_path, SPLIT, resume=True, **changes)
    assert second.seed != first.seed
    second.register_hook(RecordHook(tmp_path / 'records.jsonl'))
    second.train()
    assert second.seed == first.seed
    assert len(read_records(tmp_path / 'records.jsonl')) == 16


@pytest.mark.parametrize('step', [5, 9])
def test_extending_the_table_is_right(tmp_path, step):
    """Resumed with a fifth stage, a run equals one that had it from the start."""
    fifth = dict(name='extra', steps=3, lr=(1e-3, 1e-4), tau_samples=2, num_frames=4, batch_size=4)
    train(tmp_path / 'whole', stages=[*STAGES, fifth], **EVERY_2)
    assert run(_train_table, tmp_path / 'cut', STAGES, KillHook(step)) == [9]
    train(tmp_path / 'cut', stages=[*STAGES, fifth], resume=True, **EVERY_2)
    ours, theirs = (read_records(tmp_path / x / 'records.jsonl') for x in ('cut', 'whole'))
    assert ours == theirs


def _train_table(path, stages, *hooks):
    train(path, *hooks, stages=stages, **EVERY_2)
