"""Care for the worker processes of a training DataLoader."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import Dataset


def workers_of(batches: Iterator[Any]) -> list[BaseProcess]:
    """Worker processes behind a DataLoader's iterator; none if it loads by itself."""
    return list(getattr(batches, '_workers', []))


def stop_workers(batches: Iterator[Any]) -> None:
    """End a loader's worker processes now, not at some later collection."""
    workers = workers_of(batches)
    if workers:
        batches._shutdown_workers()  # type: ignore[attr-defined]
    for worker in workers:
        if worker.is_alive():  # hangs in a decoder, where it sees no signal but this one
            worker.kill()


@contextmanager
def worker_deaths_explained(batches: Iterator[Any], dataset: Dataset) -> Iterator[None]:
    """Add to the error that a dead loader worker causes which file it was reading.

    The error comes from torch's signal handler, wherever the training process happens to be, or
    from a connection that broke first: so this encloses the loop and looks at the processes.

    Args:
        batches: The DataLoader's iterator.
        dataset: Its data set; ``current_files()`` gives a path per process id, if it has that.

    Raises:
        RuntimeError: In place of the original, naming the file.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:
        dead = [worker.pid for worker in workers_of(batches) if _has_failed(worker)]
        if not dead:
            raise
        files = dataset.current_files() if hasattr(dataset, 'current_files') else {}
        notes = [f'process {pid} was reading {files.get(pid, "an unknown file")}' for pid in dead]
        raise RuntimeError(
            f'a loader worker died: {"; ".join(notes)}. If the file is at fault, take it out of '
            'its list; if memory ran out, lower train_dataloader.num_workers or prefetch_factor. '
            f'--resume continues the run. ({error})'
        ) from error


def _has_failed(worker: BaseProcess) -> bool:
    # Its end may be a moment behind the broken connection, and torch's signal handler raises while
    # we wait for it: that error says less than ours.
    with suppress(RuntimeError):
        worker.join(0.2)
    return worker.exitcode not in (None, 0)
