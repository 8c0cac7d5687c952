"""What the time of a training goes into."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from mmengine.runner import Runner


class Clock:
    """Seconds by what they were spent on, by the clock of the process; nothing is counted twice.

    ``loader``: waiting for a batch. ``host``: what hooks do while no step is being started.
    ``save``: of that, saving. ``validation``: loops and probes. ``device``: waiting until the steps
    that are to be logged have been computed. What is left are the steps.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def spent_on(self, what: str) -> Iterator[None]:
        """Count the time of a block; inside of another one, it is taken off that one's."""
        self._count()
        self._inside.append(what)
        try:
            yield
        finally:
            self._count()
            self._inside.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._inside:
            self._seconds[self._inside[-1]] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds so far, also of the blocks that go on."""
        self._count()
        return dict(self._seconds)


def spent_on(runner: Runner, what: str) -> AbstractContextManager[Any]:
    """As the method of a run's clock, if its loop has one."""
    clock = getattr(getattr(runner, '_train_loop', None), 'clock', None)
    return nullcontext() if clock is None else clock.spent_on(what)
