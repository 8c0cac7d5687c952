"""Remembers which file each worker process is reading, so that its death can be explained."""

import os

import numpy as np
import torch
from torch.utils.data import get_worker_info

_HEADER = np.dtype([('pid', '<i8'), ('length', '<i8')])


class Breadcrumbs:
    """One short note per worker in memory that all processes share.

    A worker that is killed (out of memory, a crash inside a decoder) cannot say what it was doing;
    the main process reads its last note instead. Writing a note costs a few microseconds.

    Args:
        slots: Most workers told apart; further ones share slots.
        width: Bytes per slot; longer paths lose their beginning.
    """

    def __init__(self, slots: int = 128, width: int = 1024) -> None:
        self._rows = torch.zeros(slots, width, dtype=torch.uint8).share_memory_()

    def drop(self, path: str) -> None:
        """Note that this process begins to read ``path``."""
        row = self._row()
        text = os.fsencode(path)[-(len(row) - _HEADER.itemsize) :]
        start = _HEADER.itemsize
        row[start : start + len(text)] = np.frombuffer(text, dtype=np.uint8)
        row[:start].view(_HEADER)[0] = (os.getpid(), len(text))

    def pick_up(self) -> None:
        """Note that this process is done with its file."""
        self._row()[: _HEADER.itemsize].view(_HEADER)['length'] = 0

    def read(self) -> dict[int, str]:
        """Return the file each process is (or was, when it died) reading, by process id."""
        notes = {}
        for row in self._rows.numpy():
            pid, length = row[: _HEADER.itemsize].view(_HEADER)[0].tolist()
            if length:
                start = _HEADER.itemsize
                notes[pid] = os.fsdecode(row[start : start + length].tobytes())
        return notes

    def _row(self) -> np.ndarray:
        worker = get_worker_info()
        # The last slot belongs to the main process.
        number = len(self._rows) - 1 if worker is None else worker.id % (len(self._rows) - 1)
        return self._rows[number].numpy()
