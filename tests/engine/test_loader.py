"""Loader workers: ended in time, and explained when they die."""

import os
import time

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.engine.loader import stop_workers, worker_deaths_explained


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
