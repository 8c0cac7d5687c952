"""Signals that ask a run to end: noted in the training process, survived in loader workers."""

import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size

# Time a loader worker outlives a SIGTERM, for the training process to finish its step and save.
GRACE_SECONDS = 120


class SignalFlag:
    """Notes signals instead of dying from them.

    A scheduler such as Slurm signals all processes of a job, each at its own moment: :meth:`raised`
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
        self._owner = os.getpid()
        self._previous: dict[signal.Signals, Any] = {}

    def install(self) -> None:
        """Start noting; only possible in the main thread."""
        self._owner = os.getpid()
        for number in self.signals:
            self._previous[number] = signal.signal(number, self._note)

    def remove(self) -> None:
        """Give the signals back their previous meaning."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:  # a child process has inherited the handler: die as usual
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.seen = signal.Signals(number).name

    def raised(self) -> bool:
        """Whether any process of the run has been signalled; all processes must call this."""
        if get_world_size() == 1:
            return self.seen is not None
        flag = torch.tensor(float(self.seen is not None), device=get_device())
        all_reduce(flag, op='max')
        return bool(flag.item())


def init_worker(worker_id: int) -> None:
    """Let a loader worker survive the signals that tell the training process to save and end.

    Without its workers the training process could not finish its step. SIGUSR1 is ignored; after a
    SIGTERM the worker leaves when a grace period is over, without a fault that would be reported.

    Args:
        worker_id: Number of the worker.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(0))
    signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(GRACE_SECONDS))
