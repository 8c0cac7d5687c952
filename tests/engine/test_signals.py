"""Signals are noted in the training process, agreed on, and survived in workers."""

import os
import signal
import time

import pytest
import torch
from mmengine.dist import init_dist
from processes import run, spawn, wait

from nextvid_mm.engine import signals
from nextvid_mm.engine.signals import SignalFlag, init_worker


def test_noted_instead_of_fatal_and_given_back():
    before = signal.getsignal(signal.SIGUSR1)
    flag = SignalFlag(['SIGUSR1', 'SIGTERM'])
    flag.install()
    assert not flag.raised()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.raised()
    assert flag.seen == 'SIGUSR1'
    flag.remove()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_unknown_names():
    with pytest.raises(ValueError, match='SIGNOTHING'):
        SignalFlag(['SIGNOTHING'])


def test_a_forked_child_still_dies():
    flag = SignalFlag(['SIGTERM'])
    flag.install()
    try:
        (child,) = spawn(time.sleep, 30)
        time.sleep(0.2)
        os.kill(child.pid, signal.SIGTERM)
        assert wait([child], timeout=10) == [-signal.SIGTERM]
    finally:
        flag.remove()


def _agree():
    init_dist('pytorch')
    flag = SignalFlag(['SIGUSR1'])
    flag.install()
    assert not flag.raised()
    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.raised()


def test_one_signalled_process_is_enough_for_all():
    assert run(_agree, world_size=2) == [0, 0]


def _work():
    init_worker(0)
    for _ in range(20):
        time.sleep(0.1)


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM])
def test_workers_survive(number):
    (worker,) = spawn(_work)
    time.sleep(0.5)
    os.kill(worker.pid, number)
    assert wait([worker], timeout=20) == [0]


def test_a_worker_leaves_after_its_grace_period(monkeypatch):
    monkeypatch.setattr(signals, 'GRACE_SECONDS', 1)
    (worker,) = spawn(_sleep_long)
    time.sleep(0.5)
    start = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert wait([worker], timeout=20) == [0]
    assert time.monotonic() - start < 10


def _sleep_long():
    init_worker(0)
    time.sleep(60)
