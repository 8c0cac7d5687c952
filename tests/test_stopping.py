"""Signals end a program with its children, and none of them is left."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from nextvid_mm.stopping import (
    ASKING,
    Stopped,
    child,
    leave_to_parent,
    pool_of,
    signals_held,
    stop_on_signals,
)

PYTHON = [sys.executable, '-S', '-c']
SAVES = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], 'w').write('saved'), sys.exit(143)))
open(sys.argv[1] + '.ready', 'w')
time.sleep(60)
"""
DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], 'w')
time.sleep(60)
"""


def test_codes():
    assert Stopped('SIGINT').code == 130
    assert Stopped('SIGTERM').code == Stopped('SIGHUP').code == Stopped('SIGUSR1').code == 143


def test_signals_are_raised_where_the_program_is_and_given_back():
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(Stopped) as stop, stop_on_signals():
        signal.raise_signal(signal.SIGUSR1)
    assert stop.value.name == 'SIGUSR1'
    assert signal.getsignal(signal.SIGUSR1) is before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def leave(command, ready, error):
    """Leave the block of a child with an error, once a file is there; return the child."""
    with child(command) as process:
        while not ready.exists():
            time.sleep(0.01)
        error.process = process
        raise error


def test_a_child_is_asked_to_end_and_may_save(tmp_path):
    mark = tmp_path / 'mark'
    with pytest.raises(KeyboardInterrupt):
        leave([*PYTHON, SAVES, str(mark)], tmp_path / 'mark.ready', KeyboardInterrupt())
    assert mark.read_text() == 'saved'


def test_a_child_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr('nextvid_mm.stopping.PATIENCE_SECONDS', 0.1)
    with pytest.raises(ValueError, match='mine') as left:
        leave([*PYTHON, DEAF, str(tmp_path / 'a')], tmp_path / 'a', ValueError('mine'))
    assert left.value.process.returncode == -signal.SIGKILL


def test_no_child_outlives_its_parent(tmp_path):
    mark = tmp_path / 'pid'
    pid = os.fork()
    if pid == 0:
        with child([*PYTHON, 'import time; time.sleep(60)']) as process:
            mark.write_text(str(process.pid))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    command = Path(f'/proc/{mark.read_text()}/cmdline')
    end = time.monotonic() + 10
    while command.exists() and command.read_bytes():  # a zombie has none
        assert time.monotonic() < end
        time.sleep(0.02)


def test_workers_of_a_pool_leave_ctrl_c_to_their_parent():
    pid = os.fork()
    if pid == 0:
        leave_to_parent()
        os.kill(os.getpid(), signal.SIGINT)
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_signal_in_the_middle_of_a_start_comes_after_it():
    reached = []

    def start():
        with stop_on_signals(), signals_held():
            os.kill(os.getpid(), signal.SIGTERM)
            reached.append(True)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped):
        start()
    assert reached == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_child_whose_start_a_signal_has_met_is_ended(monkeypatch):
    """Also where another thread hears the signal, as it may."""
    thread = threading.Thread(target=time.sleep, args=(0.5,))
    thread.start()
    started = []

    def start(*words, **options):
        started.append(popen(*words, **options))
        os.kill(os.getpid(), signal.SIGTERM)
        return started[0]

    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, 'Popen', start)

    def run():
        with stop_on_signals(), child([*PYTHON, 'import time; time.sleep(60)']):
            raise AssertionError

    with pytest.raises(Stopped):
        run()
    assert started[0].returncode is not None
    thread.join()


def test_processes_of_a_pool_hear_signals():
    with stop_on_signals(), pool_of(2, 'fork') as pool:
        handlers = pool.submit(_handlers).result()
    assert handlers == [signal.SIG_IGN, signal.SIG_DFL, signal.SIG_DFL, signal.SIG_DFL]


def _handlers():
    return [signal.getsignal(getattr(signal, name)) for name in ('SIGINT', *ASKING)]


class _Thing:
    pass


def test_a_signal_that_meets_a_callback_is_not_lost():
    def stop(_):
        os.kill(os.getpid(), signal.SIGTERM)
        return [None for _ in range(100)]  # here it is raised

    def run():
        thing = _Thing()
        reference = weakref.ref(thing, stop)
        with stop_on_signals():
            del thing
            time.sleep(10)
        return reference

    hook = sys.unraisablehook
    with pytest.raises(Stopped):
        run()
    assert sys.unraisablehook is hook
