"""Opens videos with our reader, or with decord or torchcodec for those who want their frames."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.util import find_spec
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nextvid_mm.datasets.video.reader import TOLERANCE, ReadTimeoutError, Shot, VideoReader

_SCRIPT = Path(__file__).with_name('child.py')
BACKENDS = ('pyav', 'decord', 'torchcodec')


def check_backend(name: str) -> None:
    """Raise unless a backend can be used here.

    Raises:
        ValueError: for an unknown name.
        ImportError: if its package or the libraries that it needs are missing.
    """
    if name not in BACKENDS:
        raise ValueError(f'backend={name!r} is not one of {", ".join(BACKENDS)}')
    if name == 'pyav':
        return
    reason = 'the package is not installed' if find_spec(name) is None else None
    if reason is None:
        child = _Child(name)
        reason = child.missing
        child.end()
    if reason is not None:
        raise ImportError(
            f"backend={name!r} cannot be used ({reason.splitlines()[0]}); backend='pyav' needs "
            'nothing but what is installed'
        )


def open_video(
    file: Any,
    backend: str = 'pyav',
    stream: int | None = None,
    threads: int = 1,
    deadline: float | None = None,
) -> VideoReader | ForeignReader:
    """Open a video.

    Args:
        file: as of ``VideoReader``; the other backends take paths only.
        backend: one of ``BACKENDS``.
        stream: see ``VideoReader``.
        threads: see ``VideoReader``.
        deadline: see ``VideoReader``.
    """
    if backend == 'pyav':
        return VideoReader(file, stream, threads, deadline)
    return ForeignReader(str(file), backend, deadline)


def nearest(times: NDArray[np.float64], wanted: NDArray[np.float64], slack: float) -> NDArray:
    """Numbers of the frames at rising ``times`` nearest to ``wanted``, the later of two."""
    halfway = (times[1:] + times[:-1]) / 2
    return np.searchsorted(halfway, wanted + slack, side='right')


class ForeignReader:
    """A video read by another library, in a process of its own that is ended when it hangs.

    It goes by the library's own numbers and times of frames, right or wrong.

    Args:
        path: of the video.
        backend: ``decord`` or ``torchcodec``.
        deadline: see ``VideoReader``.

    Raises:
        ValueError: what the library says about the file.
        ReadTimeoutError: at the deadline; the process is gone then.
    """

    slack = TOLERANCE

    def __init__(self, path: str, backend: str, deadline: float | None = None) -> None:
        self.name, self.deadline, self._backend = path, deadline, backend
        with open(path, 'rb'):  # a missing or forbidden file is said to be that
            pass
        begin = time.monotonic()
        self._child = _child(backend)
        if deadline is not None:  # to start the process is no fault of the file
            self.deadline = deadline + time.monotonic() - begin
        answer = self._ask(path)
        self.rate = answer['rate']
        times = np.asarray(answer['times'], dtype=np.float64)
        if not len(times):
            raise ValueError(f'{path}: the video holds no frame')
        if not (np.diff(times) > 0).all() or not np.isfinite(times).all():
            times = np.arange(len(times)) / self.rate
        self.times = times - times[0]
        self.duration = len(times) / self.rate

    def __len__(self) -> int:
        return len(self.times)

    def frames_at(self, times: Sequence[float] | NDArray[np.floating]) -> Shot:
        """See ``VideoReader.frames_at``."""
        numbers = nearest(self.times, np.asarray(times, dtype=np.float64), self.slack)
        frames = self._ask([int(number) for number in numbers])
        return Shot(list(frames), self.times[numbers])

    def _ask(self, request: str | list[int]) -> Any:
        answer = self._child.ask(request, self.deadline, self.name)
        if isinstance(answer, tuple):
            kind, text = answer
            raise ValueError(f'{self.name}: {self._backend} says {kind}: {text.strip()}')
        return answer

    def close(self) -> None:
        """Nothing: the process goes on to the next file."""


class _Child:
    """A process that decodes."""

    def __init__(self, backend: str) -> None:
        ours, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, str(_SCRIPT), backend, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # hundreds of lines of FFmpeg's a file; errors are answers
        )
        theirs.close()
        self._connection: Connection = ours
        self.owner = os.getpid()
        try:
            self.missing: str | None = ours.recv()
        except EOFError:
            self.missing = 'its process ended at once'

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def ask(self, request: Any, deadline: float | None, name: str) -> Any:
        """Send a request and wait for the answer."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            self._connection.send(request)
            if self._connection.poll(left):
                return self._connection.recv()
        except ReadTimeoutError:  # from a signal; the answer would be taken for the next one's
            self.end()
            raise
        except (EOFError, OSError) as error:
            self.end()
            raise ValueError(f'{name}: the decoder crashed') from error
        self.end()
        raise ReadTimeoutError(f'{name}: not read in time')

    def end(self) -> None:
        """End it, hanging or not."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


_children: dict[str, _Child] = {}


def _child(backend: str) -> _Child:
    """This process's own decoding process, started when first needed and after each hang."""
    child = _children.get(backend)
    if child is None or child.owner != os.getpid() or not child.alive:
        child = _children[backend] = _Child(backend)
    if child.missing is not None:
        raise ImportError(f'backend={backend!r} cannot be used: {child.missing}')
    return child
