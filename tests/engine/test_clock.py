"""The clock of a training: every second is counted once."""

import time
from types import SimpleNamespace

import pytest

from nextvid_mm.engine import clock as module
from nextvid_mm.engine.clock import Clock, spent_on


@pytest.fixture
def wait(monkeypatch):
    """Lets time pass at once."""
    now = [100.0]
    monkeypatch.setattr(module, 'time', SimpleNamespace(perf_counter=lambda: now[0]))

    def wait(seconds):
        now[0] += seconds

    return wait


def test_an_inner_block_is_taken_off_the_outer_one(wait):
    clock = Clock()
    wait(7)
    with clock.spent_on('host'):
        wait(1)
        with clock.spent_on('save'):
            wait(4)
        wait(2)
    wait(8)
    with clock.spent_on('loader'):
        wait(0.5)
    assert clock.read() == dict(host=3, save=4, loader=0.5)


def test_it_can_be_read_in_the_middle_and_after_an_error(wait):
    clock = Clock()

    def save():
        with clock.spent_on('save'):
            wait(2)
            assert clock.read() == dict(save=2)
            wait(1)
            raise OSError('full')

    with pytest.raises(OSError, match='full'):
        save()
    wait(5)
    assert clock.read() == dict(save=3)


def test_a_run_without_a_clock_is_left_alone():
    for loop in (None, {}, object()):
        with spent_on(SimpleNamespace(_train_loop=loop), 'save'):
            pass
    clock = Clock()
    with spent_on(SimpleNamespace(_train_loop=SimpleNamespace(clock=clock)), 'save'):
        time.sleep(0)
    assert list(clock.read()) == ['save']
