"""The bar that everything which takes a while shows, and silence where a log would bury it."""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar('Item')

LINE_SECONDS = 30.0


def progress_bar(unit: str, quiet: bool = False, **options: Any) -> Progress:
    """A bar that counts, with the time that has passed and the time left.

    Args:
        unit: what is counted, such as ``clips``.
        quiet: show nothing.
        options: of ``rich.progress.Progress``, such as ``transient=True``: gone when done.
    """
    return _Bars(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f'{unit}, elapsed'),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
        disable=quiet,
        **options,
    )


class _Bars(Progress):
    """Bars in a terminal; elsewhere (a log file, a scheduler) a line every :data:`LINE_SECONDS`."""

    _last_line = 0.0

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Count on."""
        super().advance(task_id, advance)
        self._line(task_id)

    def update(self, task_id: TaskID, *args: Any, **kwargs: Any) -> None:
        """Set count or text."""
        super().update(task_id, *args, **kwargs)
        self._line(task_id)

    def _line(self, task_id: TaskID) -> None:
        if self.disable or self.console.is_terminal:
            return
        now, task = time.monotonic(), self._tasks[task_id]
        self._last_line = self._last_line or now
        if now - self._last_line < LINE_SECONDS:
            return
        self._last_line = now
        total, done, minutes = task.total, task.completed, (task.elapsed or 0) / 60
        count = f'{done:,.0f}' + (f' of {total:,.0f}' if total is not None else '')
        # rich knows the speed of the last 30 seconds only, in which nothing may have ended.
        rest = f', {minutes * (total - done) / done:.1f} min left' if total and done else ''
        text = f'{task.description}: {count}, {minutes:.1f} min{rest}'
        self.console.file.write(f'{text}\n')
        self.console.file.flush()


def track(
    items: Iterable[Item],
    text: str,
    unit: str,
    total: int | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Iterator[Item]:
    """Go through ``items`` with a bar.

    Args:
        items: what to go through.
        text: what is being done.
        unit: what is counted.
        total: how many items there are, where they have no length.
        quiet: show nothing.
        console: where the bar is shown, if lines are printed above it.
    """
    with progress_bar(unit, quiet, console=console) as bar:
        yield from bar.track(items, total=total, description=text)


@contextmanager
def quiet_log() -> Iterator[None]:
    """Hold back MMEngine's report of several lines per initialised parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
