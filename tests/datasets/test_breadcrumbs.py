import multiprocessing
import os
import pickle
import signal
from multiprocessing.reduction import ForkingPickler

from torch.utils.data import DataLoader, Dataset

from nextvid_mm.datasets.breadcrumbs import Breadcrumbs


class Fragile(Dataset):
    """Its worker is killed while it reads item 5."""

    def __init__(self):
        self.breadcrumbs = Breadcrumbs()

    def __len__(self):
        return 6

    def __getitem__(self, index):
        self.breadcrumbs.drop(f'/videos/ü{index}.mp4')
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        self.breadcrumbs.pick_up()
        return index


def test_note_is_there_until_it_is_picked_up():
    breadcrumbs = Breadcrumbs()
    assert breadcrumbs.read() == {}
    breadcrumbs.drop('/a.mp4')
    assert breadcrumbs.read() == {os.getpid(): '/a.mp4'}
    breadcrumbs.pick_up()
    assert breadcrumbs.read() == {}


def test_long_paths_keep_their_end():
    breadcrumbs = Breadcrumbs(slots=2, width=64)
    breadcrumbs.drop('/' + 'x' * 100 + '/clip.mp4')
    assert breadcrumbs.read()[os.getpid()].endswith('x/clip.mp4')


def lose_a_worker(answers):
    """Load until a worker is killed; torch reports that by a signal, hence a process of its own."""
    dataset = Fragile()
    try:
        # Plain numbers: a tensor's file descriptor could not be fetched from a dead worker.
        list(DataLoader(dataset, num_workers=2, batch_size=1, collate_fn=list))
    except RuntimeError as error:
        answers.put((str(error), dataset.breadcrumbs.read()))


def test_a_killed_worker_leaves_its_file():
    context = multiprocessing.get_context('fork')
    answers = context.Queue()
    process = context.Process(target=lose_a_worker, args=(answers,))
    process.start()
    message, notes = answers.get(timeout=60)
    process.join()
    ((pid, path),) = notes.items()
    assert path == '/videos/ü5.mp4'
    assert f'pid(s) {pid}' in message or f'pid {pid}' in message


def test_notes_reach_processes_that_share_nothing_else():
    breadcrumbs = Breadcrumbs()
    copy = pickle.loads(ForkingPickler.dumps(breadcrumbs))
    copy.drop('/a.mp4')
    assert list(breadcrumbs.read().values()) == ['/a.mp4']
