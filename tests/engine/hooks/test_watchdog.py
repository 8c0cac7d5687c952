"""A run that hangs ends, and says who hangs where."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from processes import run
from toy_training import train

from nextvid_mm.engine.hooks import watchdog
from nextvid_mm.engine.hooks.watchdog import WatchdogHook, describe


class Hang(Hook):
    """One process stops in the middle of a step; until then, a slow machine is no hang."""

    def __init__(self, rank, watchdog):
        self.rank, self.watchdog = rank, watchdog

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 3:
            self.watchdog.limit = 1.0
            if runner.rank == self.rank:
                time.sleep(600)


def _hang(path, world_size):
    hook = WatchdogHook(limit=60.0)
    watchdog._PAUSE_SECONDS = 0.25
    launcher = 'pytorch' if world_size > 1 else 'none'
    train(path, Hang(world_size - 1, hook), hook, launcher=launcher)


@pytest.mark.parametrize('world_size', [1, 2])
def test_a_hang_ends_the_run_and_is_named(tmp_path, world_size, capfd):
    assert run(_hang, tmp_path, world_size, world_size=world_size) == [1] * world_size
    said = capfd.readouterr().err
    assert 'step 4: no progress in 1 s (WatchdogHook.limit): rank ' in said
    line = next(line for line in said.splitlines() if 'no progress' in line)
    assert f'rank {world_size - 1} on ' in line
    assert 'hangs in test_watchdog.py:' in line
    assert '(before_train_iter)' in line
    stacks = (tmp_path / f'hang.rank{world_size - 1}.txt').read_text()
    assert json.loads(stacks.splitlines()[0])['step'] == 4
    assert 'in before_train_iter' in stacks
    if world_size == 2:
        assert 'rank(s) 0 wait for it' in line
        assert json.loads((tmp_path / 'hang.rank0.txt').read_text().splitlines()[0])['waits']


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr(watchdog, 'time', SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Steps(Hook):
    """Every step takes most of the limit."""

    def __init__(self, clock):
        self.clock = clock

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.01)
        self.clock[0] += 7.0


def test_a_run_that_gets_on_is_left_alone(tmp_path, clock, monkeypatch):
    ends, before = [], threading.active_count()
    monkeypatch.setattr(watchdog, '_PAUSE_SECONDS', 0.001)
    monkeypatch.setattr(WatchdogHook, '_end', lambda *words: ends.append(words))
    assert train(tmp_path, Steps(clock), WatchdogHook(limit=10.0)).iter == 16
    assert clock == [16 * 7.0]
    assert threading.active_count() == before  # nobody looks any more
    assert ends == list(tmp_path.glob('hang.*')) == []


def test_nobody_looks_while_features_are_encoded(tmp_path):
    hook, before = WatchdogHook(limit=10.0), threading.active_count()

    class Encode(Hook):
        """As ExactEpochLoop calls the hooks."""

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter == 3:
                looking.append(threading.active_count() - before)
                runner.call_hook('before_encoding')
                looking.append(threading.active_count() - before)
                runner.call_hook('after_encoding')
                looking.append(threading.active_count() - before)

    looking = []
    train(tmp_path, Encode(), hook)
    assert looking == [1, 0, 1]
    assert threading.active_count() == before


def test_what_is_said():
    waiting = dict(step=7, place='x.py:1 (f)', waits=True)
    hosts = ['node1', 'node1', 'node2']
    stopped = describe({0: waiting, 1: waiting}, hosts, 600)
    assert 'rank 2 on node2 is stopped or gone; rank(s) 0, 1 wait for it' in stopped
    assert 'all ranks wait for each other' in describe(dict.fromkeys(range(3), waiting), hosts, 600)
    assert stopped.startswith('step 7: no progress in 600 s')


def test_a_limit_must_be_a_time():
    with pytest.raises(ValueError, match='limit=0 must be larger than 0'):
        WatchdogHook(limit=0)
