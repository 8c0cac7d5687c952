"""Care for the processes of a run: signals that ask it to end, and workers of its loader."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from nextvid_mm.datasets.video.child import die_with_parent
from nextvid_mm.datasets.video.decoder import interrupt
from nextvid_mm.stopping import signals_held

# Time a loader worker outlives a SIGTERM, for the training process to finish its step and save.
GRACE_SECONDS = 120
# What torch says when /dev/shm is full.
_NO_SHARED_MEMORY = ('Bus error', 'out of shared memory', 'No space left on device (28)')
# Time that a run which has been signalled goes on waiting for its loader.
PATIENCE_SECONDS = 2
# The flag of this process's run, if one is installed.
_flags: list['SignalFlag'] = []


class WaitStopped(Exception):
    """The run has been signalled, and the loader gives nothing: a worker hangs."""


class SignalFlag:
    """Notes signals instead of dying from them.

    A scheduler such as Slurm signals all processes of a job, each at its own moment: :meth:`agreed`
    agrees on it, so that every process stops after the same step.

    Args:
        names: Signal names, such as 'SIGTERM'.

    Raises:
        ValueError: If there is no signal of a name.
    """

    def __init__(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if not hasattr(signal, name)]
        if unknown:
            raise ValueError(f'signals={unknown}: the system has no such signals')
        self.signals = [getattr(signal, name) for name in names]
        self.seen: str | None = None
        self.seen_at = 0.0
        self._owner = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Start noting; only possible in the main thread. What is ignored (``nohup``) stays so."""
        self._owner = os.getpid()
        for number in self.signals:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous[number] = signal.signal(number, self._note)
        _flags.append(self)

    def remove(self) -> None:
        """Give the signals back their previous meaning."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
        if self in _flags:
            _flags.remove(self)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a child process has inherited the handler: die as usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if number == signal.SIGINT and self.seen == 'SIGINT':
            raise KeyboardInterrupt  # a second Ctrl-C does not wait for anything
        self.seen, self.seen_at = signal.Signals(number).name, time.monotonic()
        if number == signal.SIGINT:
            os.write(2, b'\nCtrl-C: saving after this step; once more to stop at once\n')

    def agreed(self, due: bool = False) -> str:
        """What the processes of the run have to do; all of them must call this.

        Args:
            due: whether this process thinks that it is time to save.

        Returns:
            '' for nothing, 'due' if one finds it time to save, 'another' or 'SIGINT' if one has
            been signalled (by Ctrl-C).
        """
        mine = 1 if due else 0
        if self.seen is not None:
            mine = 3 if self.seen == 'SIGINT' else 2
        if get_world_size() > 1:
            flag = torch.tensor(float(mine), device=get_device())
            all_reduce(flag, op='max')
            mine = int(flag.item())
        return ('', 'due', 'another', 'SIGINT')[mine]


def init_worker(worker_id: int) -> None:
    """Let a loader worker survive the signals that tell the training process to save and end.

    Without its workers the training process could not finish its step. SIGUSR1, Ctrl-C and SIGHUP
    are ignored; after a SIGTERM the worker leaves when a grace period is over, without a fault that
    would be reported. SIGUSR2 makes it give up the file that it reads.

    Args:
        worker_id: Number of the worker.
    """
    for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, interrupt)
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))
    die_with_parent()


def _init_seeded_worker(seed: Callable[[int], Any] | None, worker_id: int) -> None:
    if seed is not None:
        seed(worker_id)
    init_worker(worker_id)


class GuardedLoader:
    """A DataLoader whose passes neither hang nor leave a process behind.

    Its workers, persistent ones too, end with it or their parent and outlive the signals that end
    a run, every wait is a :func:`bounded_wait`, and the death of a worker is explained. Where there
    is a GPU, batches are in memory that it copies from by itself (``pin_memory``). All else is the
    loader's own.

    Args:
        loader: what is guarded; before its first pass.
    """

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        loader.pin_memory = loader.pin_memory or torch.accelerator.is_available()
        if loader.num_workers:
            loader.worker_init_fn = partial(_init_seeded_worker, loader.worker_init_fn)
            # With the guard, or before Python ends its children, by a signal they would outlive.
            Finalize(self, _end_persistent_workers, (loader,), exitpriority=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__['loader'], name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        """A pass over the loader.

        Raises:
            WaitStopped: as of :func:`bounded_wait`.
            RuntimeError: If a worker hangs or has died; names the file.
        """
        with signals_held():
            batches = iter(self.loader)
        dataset = self.loader.dataset
        ended = False
        try:
            with worker_deaths_explained(batches, dataset):
                while True:
                    with bounded_wait(batches, dataset):
                        data = next(batches, self)
                    if data is self:
                        break
                    yield data
            ended = True
        finally:
            if not ended:  # workers of a pass that was broken off serve no other
                stop_workers(batches)
                self.loader._iterator = None


@contextmanager
def bounded_wait(batches: Iterator[Any], dataset: Any) -> Iterator[None]:
    """Look every second whether a wait for the loader makes sense.

    A run on one process that has been signalled does not wait for long. Several processes, which
    must stop after the same step, have to end theirs: their workers give up the files that take
    long. A worker that stays with one file far beyond the limit of a sample, inside of code that
    knows no limit, ends the run.

    Args:
        batches: The DataLoader's iterator; without workers, nothing is looked at.
        dataset: Its dataset; ``overdue_files(limit)`` gives path and seconds per process id, if it
            has that.

    Raises:
        WaitStopped: If the run has been signalled.
        RuntimeError: If a worker hangs; names the file.
    """
    if not workers_of(batches) or threading.current_thread() is not threading.main_thread():
        yield
        return

    workers = {worker.pid for worker in workers_of(batches) if worker.is_alive()}

    def look(number: int, frame: FrameType | None) -> None:
        late = time.monotonic() - PATIENCE_SECONDS
        signalled = any(flag.seen and flag.seen_at < late for flag in _flags)
        if signalled and get_world_size() == 1:
            raise WaitStopped
        if not hasattr(dataset, 'overdue_files'):
            return
        if signalled:
            for pid in dataset.overdue_files(PATIENCE_SECONDS).keys() & workers:
                os.kill(pid, signal.SIGUSR2)
        overdue = dataset.overdue_files()
        for pid, (path, seconds) in overdue.items():
            raise RuntimeError(
                f'loader process {pid} has been reading {path} for {seconds:.0f} s and does not '
                'stop: take the file out of its list, or read it with VideoInit, which has a '
                'limit. --resume continues the run.'
            )

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def workers_of(batches: Iterator[Any]) -> list[BaseProcess]:
    """Worker processes behind a DataLoader's iterator; none if it loads by itself."""
    return list(getattr(batches, '_workers', []))


def stop_workers(batches: Iterator[Any]) -> None:
    """End a loader's worker processes now, not at some later collection."""
    loader: Any = batches
    workers = workers_of(batches)
    if not workers:
        return
    # A worker that hangs in a decoder sees no signal but the last, and torch would wait five
    # seconds for each.
    if any(flag.seen for flag in _flags):
        _kill(loader, workers)
    loader._shutdown_workers()  # which does nothing while Python ends
    _kill(loader, [worker for worker in workers if worker.is_alive()])


def _kill(loader: Any, workers: Sequence[BaseProcess]) -> None:
    """Kill workers; torch, which takes the death of one for an accident, is told before."""
    if workers and getattr(loader, '_worker_pids_set', False):
        signal_handling._remove_worker_pids(id(loader))
        loader._worker_pids_set = False
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.join(5)


def _end_persistent_workers(loader: DataLoader) -> None:
    if loader._iterator is not None:
        stop_workers(loader._iterator)
        loader._iterator = None


@contextmanager
def worker_deaths_explained(batches: Iterator[Any], dataset: Dataset) -> Iterator[None]:
    """Add to the error that a dead loader worker causes which file it was reading.

    The error comes from torch's signal handler, wherever the training process happens to be, or
    from a connection that broke first: so this encloses the loop and looks at the processes.

    Args:
        batches: The DataLoader's iterator.
        dataset: Its dataset; ``current_files()`` gives a path per process id, if it has that.

    Raises:
        RuntimeError: In place of the original, naming the file.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        dead = [worker.pid for worker in workers_of(batches) if _has_failed(worker)]
        if any(sign in str(error) for sign in _NO_SHARED_MEMORY):
            raise RuntimeError(
                'the memory that loader workers share (/dev/shm) is full: start the container with '
                'more, such as docker run --shm-size=16g (or --ipc=host), or lower '
                f'train_dataloader.num_workers or prefetch_factor. ({error})'
            ) from error
        if not dead:
            raise
        files = dataset.current_files() if hasattr(dataset, 'current_files') else {}
        notes = [f'process {pid} was reading {files.get(pid, "an unknown file")}' for pid in dead]
        raise RuntimeError(
            f'a loader worker died: {"; ".join(notes)}. If the file is at fault, take it out of '
            'its list; if memory ran out, lower train_dataloader.num_workers or prefetch_factor. '
            f'--resume continues the run. ({error})'
        ) from error


def _has_failed(worker: BaseProcess) -> bool:
    # Its end may be a moment behind the broken connection, and torch's signal handler raises while
    # we wait for it: that error says less than ours.
    with suppress(RuntimeError):
        worker.join(0.2)
    return worker.exitcode not in (None, 0)
