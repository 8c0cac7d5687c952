"""How a program ends: signals that ask it to, the children it leaves none of, and exit codes.

====  ==========================================================================================
code  meaning
====  ==========================================================================================
0     done
1     an error, told in one line
2     wrong flags
130   stopped by Ctrl-C
143   stopped by SIGTERM, SIGUSR1 or SIGHUP (a scheduler, a closed terminal)
====  ==========================================================================================

A training that was stopped has saved before it ends with 130 or 143.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache, partial
from types import FrameType
from typing import Any

ERROR, WRONG_FLAGS, INTERRUPTED, STOPPED = 1, 2, 130, 143
ASKING = ('SIGTERM', 'SIGUSR1', 'SIGHUP')
"""Signals that ask a program to end; Ctrl-C is Python's own."""

# How long a child may take to save when this program is stopped.
PATIENCE_SECONDS = 120.0


class Stopped(BaseException):
    """A signal has asked this program to end.

    Like ``KeyboardInterrupt``, it passes every ``except Exception``.

    Args:
        name: of the signal.
        text: what the last line says beside it.
    """

    def __init__(self, name: str, text: str = '') -> None:
        super().__init__(name, text)
        self.name, self.text = name, text

    @property
    def code(self) -> int:
        """The exit code."""
        return INTERRUPTED if self.name == 'SIGINT' else STOPPED


@contextmanager
def stop_on_signals(names: Sequence[str] = ASKING) -> Iterator[None]:
    """Let signals raise :class:`Stopped` where the program is, so that what it opened is closed.

    Outside of the main thread, nothing changes; so it does for signals that are ignored (``nohup``)
    or noted by somebody else.

    Args:
        names: the signals.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in names:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _raise)
    dropped, sys.unraisablehook = sys.unraisablehook, partial(_again, sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = dropped
        for number, handler in before.items():
            signal.signal(number, handler)


def _again(otherwise: Any, dropped: Any) -> None:
    """Send a signal again whose exception met a callback (a weak reference), where it is lost."""
    stop = dropped.exc_value
    if isinstance(stop, KeyboardInterrupt | Stopped):
        name = stop.name if isinstance(stop, Stopped) else 'SIGINT'
        threading.Timer(0.02, os.kill, (os.getpid(), getattr(signal, name))).start()
    else:
        otherwise(dropped)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Stopped(signal.Signals(number).name)


@cache
def _libc() -> Any:
    """The C library; loaded before a fork, after which nothing may be imported."""
    import ctypes

    return ctypes.CDLL(None)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let signals wait while processes are started; what is raised in the middle of a fork is lost.

    Handlers are replaced, not masks: another thread would hear what the main thread holds back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    seen: list[int] = []
    numbers = [getattr(signal, name) for name in ('SIGINT', *ASKING) if hasattr(signal, name)]
    before = {n: handler for n in numbers if callable(handler := signal.getsignal(n))}
    for number in before:
        signal.signal(number, lambda number, frame: seen.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if seen:
            signal.raise_signal(seen[0])


def end_with_parent(number: int = signal.SIGTERM) -> None:
    """Let the system signal this process when its parent ends, however that happens (Linux)."""
    if sys.platform == 'linux':
        pr_set_pdeathsig = 1
        _libc().prctl(pr_set_pdeathsig, number)


def leave_to_parent() -> None:
    """For workers of a pool: Ctrl-C is the parent's matter, and none outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ASKING:
        with suppress(AttributeError):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    end_with_parent(signal.SIGKILL)


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen]:
    """A child process that ends when the block does, and with this program.

    If the block is left by a signal or an error, the child is asked to end (SIGTERM: a training
    saves), and is killed if it has not after :data:`PATIENCE_SECONDS` or at a second Ctrl-C. It is
    in a session of its own: Ctrl-C in a terminal reaches it through this program only.

    Args:
        command: program and arguments.
        **options: of ``subprocess.Popen``.
    """
    _libc()
    process: subprocess.Popen | None = None
    try:
        with signals_held():
            process = subprocess.Popen(
                command, start_new_session=True, preexec_fn=end_with_parent, **options
            )
            _children.add(process)
        yield process
    except BaseException:
        if process is not None:
            _end(process)
        raise
    finally:
        if process is not None:
            process.wait()
            _children.discard(process)


_children: set[subprocess.Popen] = set()


def end_children() -> None:
    """Ask all children to end, those that other threads wait for, too."""
    for process in list(_children):
        _end(process)


def _end(process: subprocess.Popen) -> None:
    try:
        process.terminate()
        process.wait(PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, Stopped):
        process.kill()
    process.wait()


@contextmanager
def pool_of(workers: int, method: str, *initializer: Any) -> Iterator[ProcessPoolExecutor]:
    """Processes that Ctrl-C in a terminal does not reach, and that end with the block at once.

    Args:
        workers: how many.
        method: how they are started: ``fork`` or ``spawn``.
        *initializer: function and arguments, called in each.
    """
    context = multiprocessing.get_context(method)
    pool = ProcessPoolExecutor(workers, context, _begin_worker, initializer)
    try:
        with signals_held():
            pool.submit(int)  # with the first, the processes are started
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _begin_worker(*initializer: Any) -> None:
    leave_to_parent()
    if initializer:
        initializer[0](*initializer[1:])
