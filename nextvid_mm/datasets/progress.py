"""The bar that everything which takes a while shows."""

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar(unit: str, quiet: bool = False) -> Progress:
    """A bar that counts, with the time that has passed and the time left.

    Args:
        unit: what is counted, such as ``clips``.
        quiet: show nothing.
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
    )
