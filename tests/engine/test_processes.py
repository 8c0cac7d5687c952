"""Signals are noted, agreed on and survived; loader workers are ended in time and explained."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
from mmengine.dist import init_dist
from processes import run, spawn, wait
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.datasets.video.decoder import ReadTimeoutError, interruptible
from nextvid_mm.engine import processes
from nextvid_mm.engine.processes import (
    GuardedLoader,
    SignalFlag,
    WaitStopped,
    bounded_wait,
    init_worker,
    stop_workers,
    worker_deaths_explained,
)


def test_noted_instead_of_fatal_and_given_back():
    before = signal.getsignal(signal.SIGUSR1)
    flag = SignalFlag(['SIGUSR1', 'SIGTERM'])
    flag.install()
    assert flag.agreed() == ''
    os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.agreed() == 'another'
    assert flag.seen == 'SIGUSR1'
    flag.remove()
    assert signal.getsignal(signal.SIGUSR1) is before


def test_unknown_names():
    with pytest.raises(ValueError, match='SIGNOTHING'):
        SignalFlag(['SIGNOTHING'])


def started(target, *args):
    """As ``spawn``; the process is at work when this comes back."""
    ready = multiprocessing.get_context('fork').Event()
    (process,) = spawn(_say_and_do, ready, target, args)
    assert ready.wait(60)
    return [process]


def _say_and_do(ready, target, args):
    if target in (_work, _sleep_long):
        init_worker(0)
    ready.set()
    target(*args)


def test_a_forked_child_still_dies():
    flag = SignalFlag(['SIGTERM'])
    flag.install()
    try:
        (child,) = started(time.sleep, 600)
        os.kill(child.pid, signal.SIGTERM)
        assert wait([child], timeout=10) == [-signal.SIGTERM]
    finally:
        flag.remove()


def _agree():
    init_dist('pytorch')
    flag = SignalFlag(['SIGUSR1'])
    flag.install()
    assert flag.agreed() == ''
    if torch.distributed.get_rank() == 1:
        os.kill(os.getpid(), signal.SIGUSR1)
    assert flag.agreed() == 'another'


def test_one_signalled_process_is_enough_for_all():
    assert run(_agree, world_size=2) == [0, 0]


def _work():
    for _ in range(10):
        time.sleep(0.1)


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM])
def test_workers_survive(number):
    (worker,) = started(_work)
    os.kill(worker.pid, number)
    assert wait([worker], timeout=20) == [0]


def test_a_worker_leaves_after_its_grace_period(monkeypatch):
    monkeypatch.setattr(processes, 'GRACE_SECONDS', 1)
    (worker,) = started(_sleep_long)
    os.kill(worker.pid, signal.SIGTERM)
    assert wait([worker], timeout=50) == [0]


def _sleep_long():
    time.sleep(600)
    os._exit(3)  # never reached: the grace period ends with 0


class Files(Dataset):
    """Dies on item 3, or hangs there; notes its file as MixtureDataset does."""

    def __init__(self, hang=False):
        self.hang = hang
        self.pid = torch.zeros(1, dtype=torch.int64).share_memory_()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 3:
            self.pid[0] = os.getpid()
            while self.hang:
                time.sleep(1)
            os._exit(7)
        return index

    def current_files(self):
        return {int(self.pid): 'clips/third.mp4'}


class Unknown(Files):
    current_files = property()  # hasattr() says no


def consume(batches, pause):
    for _ in batches:
        time.sleep(pause)


@pytest.mark.parametrize('pause', [0, 0.5])
def test_a_dead_worker_is_reported_with_its_file(pause):
    """Whichever comes first: torch's signal handler or a connection that breaks."""
    dataset = Files()
    batches = iter(DataLoader(dataset, num_workers=1))
    with (
        pytest.raises(RuntimeError, match=r'was reading clips/third\.mp4') as error,
        worker_deaths_explained(batches, dataset),
    ):
        consume(batches, pause)
    assert error.value.__cause__ is not None


def test_data_sets_that_keep_no_notes():
    dataset = Unknown()
    batches = iter(DataLoader(dataset, num_workers=1))
    with (
        pytest.raises(RuntimeError, match='an unknown file'),
        worker_deaths_explained(batches, dataset),
    ):
        list(batches)


def test_other_errors_pass():
    dataset = Files()
    batches = iter(DataLoader(dataset, num_workers=1))
    for error in (RuntimeError('shapes'), ValueError('no'), FileNotFoundError('list.txt')):
        with (
            pytest.raises(type(error), match=str(error)),
            worker_deaths_explained(batches, dataset),
        ):
            raise error
    stop_workers(batches)


def test_workers_end_at_once():
    batches = iter(DataLoader(list(range(1000)), num_workers=2))
    next(batches)
    workers = batches._workers
    assert all(worker.is_alive() for worker in workers)
    stop_workers(batches)
    assert not any(worker.is_alive() for worker in workers)


def test_a_loader_without_workers():
    stop_workers(iter(DataLoader([1, 2])))
    stop_workers(iter(()))


class Hanging(Dataset):
    """The second item never comes."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        while index == 1:
            signal.pause()  # as in a decoder: no Python exception gets through
        return index

    def overdue_files(self, limit=None):
        return self.overdue

    overdue: dict = {}  # noqa: RUF012


def _wait_for_two(dataset, flag):
    """Ask a loader for two items; the kind of end, and whether a worker is left."""
    flag.install()
    batches = iter(DataLoader(dataset, num_workers=1, worker_init_fn=init_worker))
    workers = processes.workers_of(batches)
    try:
        for number in range(2):
            with bounded_wait(batches, dataset):
                next(batches)
            if number == 0 and not dataset.overdue:
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        stop_workers(batches)
        flag.remove()
        assert not any(worker.is_alive() for worker in workers)


def test_a_signal_ends_the_wait_for_a_worker_that_hangs(monkeypatch):
    monkeypatch.setattr(processes, 'PATIENCE_SECONDS', 0.5)
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(WaitStopped):
        _wait_for_two(Hanging(), SignalFlag(['SIGTERM']))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


class Slow(Dataset):
    """The second item takes a minute; a mixture would replace it by another."""

    started = 0.0

    def __len__(self):
        return 4

    def __getitem__(self, index):
        try:
            with interruptible():
                time.sleep(60 * (index == 1))
        except ReadTimeoutError:
            return -1
        return index

    def overdue_files(self, limit=None):
        slow = time.monotonic() - self.started > (limit or 100)
        return dict.fromkeys(self.workers, ('slow.mp4', limit)) if slow else {}


def _end_with_the_others(patience):
    """Both processes are signalled while a worker of the second reads a slow file."""
    processes.PATIENCE_SECONDS = patience
    init_dist('pytorch')
    flag, dataset = SignalFlag(['SIGTERM']), Slow()
    flag.install()
    own = [0, 1] if torch.distributed.get_rank() else [0, 2]
    loader = DataLoader(dataset, sampler=own, num_workers=1, worker_init_fn=init_worker)
    batches = iter(loader)
    dataset.started = time.monotonic()
    # Not a worker: whoever is signalled must be one.
    dataset.workers = [os.getppid(), *(worker.pid for worker in processes.workers_of(batches))]
    with bounded_wait(batches, dataset):
        assert next(batches).item() == 0
    os.kill(os.getpid(), signal.SIGTERM)
    with bounded_wait(batches, dataset):
        assert next(batches).item() == (-1 if own == [0, 1] else 2)
    assert flag.agreed() == 'another'
    stop_workers(batches)


def test_signalled_processes_give_up_slow_files_to_end_their_step_together():
    assert run(partial(_end_with_the_others, 0.5), world_size=2) == [0, 0]


def test_a_worker_that_stays_with_one_file_ends_the_run_and_is_named():
    dataset = Hanging()
    dataset.overdue = {7: ('/videos/a.mp4', 151.0)}
    with pytest.raises(RuntimeError, match=r'process 7 has been reading /videos/a\.mp4 for 151 s'):
        _wait_for_two(dataset, SignalFlag(['SIGTERM']))


@pytest.mark.parametrize('gpu', [False, True])
def test_batches_of_a_guarded_loader_are_pinned_where_there_is_a_gpu(monkeypatch, gpu):
    monkeypatch.setattr(torch.accelerator, 'is_available', lambda: gpu)
    assert GuardedLoader(DataLoader([1, 2])).pin_memory == gpu


@pytest.mark.parametrize('persistent', [False, True])
def test_a_guarded_loader_gives_what_its_loader_gives(persistent):
    plain = DataLoader(list(range(6)), 2, num_workers=1, persistent_workers=persistent)
    guarded = GuardedLoader(plain)
    assert len(guarded) == 3
    assert guarded.batch_size == 2
    for _ in range(2):
        assert [batch.tolist() for batch in guarded] == [[0, 1], [2, 3], [4, 5]]
    for _ in guarded:
        break  # a pass that is broken off ...
    assert len(list(guarded)) == 3  # ... does no harm to the next


PERSISTENT = """
from torch.utils.data import DataLoader
from nextvid_mm.engine.processes import GuardedLoader
loader = GuardedLoader(DataLoader([1, 2], num_workers=1, persistent_workers=True))
print(len(list(loader)))
"""


def test_a_program_does_not_wait_for_persistent_workers_at_its_end():
    command = [sys.executable, '-c', PERSISTENT]
    ended = subprocess.run(command, timeout=processes.GRACE_SECONDS / 2, capture_output=True)
    assert (ended.returncode, ended.stdout.split()) == (0, [b'2'])
    assert b'Traceback' not in ended.stderr


def test_workers_that_are_killed_while_python_ends_are_no_accident(monkeypatch):
    loader = DataLoader([1, 2], num_workers=1, persistent_workers=True)
    iterator = iter(loader)
    monkeypatch.setattr(torch.utils.data._utils, 'python_exit_status', True)
    stop_workers(iterator)
    assert not any(worker.is_alive() for worker in processes.workers_of(iterator))
    # Else torch's handler of SIGCHLD raises, if the worker takes its time to die.
    assert not iterator._worker_pids_set


def test_persistent_workers_end_with_their_guard():
    guarded = GuardedLoader(DataLoader([1, 2], num_workers=1, persistent_workers=True))
    assert len(list(guarded)) == 2
    loader, workers = guarded.loader, guarded._iterator._workers
    assert all(worker.is_alive() for worker in workers)
    del guarded
    assert not any(worker.is_alive() for worker in workers)
    assert len(list(loader)) == 2


def test_a_guarded_loader_ends_a_hang(monkeypatch):
    monkeypatch.setattr(processes, 'PATIENCE_SECONDS', 0.5)
    flag, workers = SignalFlag(['SIGTERM']), []
    flag.install()
    try:
        batches = iter(GuardedLoader(DataLoader(Hanging(), num_workers=1)))
        next(batches)
        workers += multiprocessing.active_children()
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(WaitStopped):
            next(batches)
    finally:
        flag.remove()
    assert workers
    assert not any(worker.is_alive() for worker in workers)


def test_a_guarded_loader_names_what_hangs_and_what_died():
    hanging = Hanging()
    hanging.overdue = {7: ('/videos/a.mp4', 151.0)}
    with pytest.raises(RuntimeError, match=r'has been reading /videos/a\.mp4'):
        list(GuardedLoader(DataLoader(hanging, num_workers=1)))
    with pytest.raises(RuntimeError, match=r'was reading clips/third\.mp4'):
        list(GuardedLoader(DataLoader(Files(), num_workers=1)))


def _leave_a_worker(queue):
    """A parent that is killed while its guarded worker hangs."""
    batches = iter(GuardedLoader(DataLoader(Hanging(), num_workers=1)))
    next(batches)
    queue.put(multiprocessing.active_children()[0].pid)
    time.sleep(60)


def test_guarded_workers_end_with_their_parent():
    queue = multiprocessing.get_context('fork').Queue()
    (parent,) = spawn(_leave_a_worker, queue)
    pid = queue.get(timeout=60)
    os.kill(parent.pid, signal.SIGKILL)
    wait([parent], timeout=20)
    deadline = time.monotonic() + 20
    while _is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _is_running(pid)


def _is_running(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.parametrize('sign', processes._NO_SHARED_MEMORY)
def test_full_shared_memory_is_said_with_its_cure(sign):
    error = RuntimeError(f'unable to write to file </torch_1>: {sign}')
    with pytest.raises(RuntimeError, match='--shm-size'), worker_deaths_explained(iter(()), None):
        raise error
