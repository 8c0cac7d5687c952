"""The bar that everything which takes a while shows, and silence where a log would bury it."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Item = TypeVar('Item')


def progress_bar(unit: str, quiet: bool = False, **options: Any) -> Progress:
    """A bar that counts, with the time that has passed and the time left.

    Args:
        unit: what is counted, such as ``clips``.
        quiet: show nothing.
        options: of ``rich.progress.Progress``, such as ``transient=True``: gone when done.
    """
    return Progress(
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
