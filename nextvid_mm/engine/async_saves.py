"""Saves that training does not wait for: every process writes its own shard in the background."""

import shutil
import time
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import apply_to
from torch.distributed.checkpoint import FileSystemWriter, async_save
from torch.distributed.checkpoint.api import CheckpointException

from nextvid_mm.files import TEMPORARY_SUFFIX, replace_when_complete
from nextvid_mm.models.checkpoints.files import SHARDED
from nextvid_mm.models.checkpoints.sharded import RUN, read_sharded, take_apart
from nextvid_mm.registry import unwrap

_OLD = f'.old{TEMPORARY_SUFFIX}'
# Of a run on one process, which is meant.
warnings.filterwarnings('ignore', message='torch.distributed is disabled, unavailable')


@CheckpointLoader.register_scheme(prefixes=rf'.*\{SHARDED}/?$')
def load_sharded(filename: str, map_location: Any = None) -> dict[str, Any]:
    """A sharded checkpoint as a whole one, for MMEngine; it stays on the CPU."""
    return read_sharded(filename)


@dataclass
class _Save:
    """One that has begun."""

    path: Path
    future: Future
    begun: float


class AsyncSaver:
    """Writes checkpoints as folders ``iter_N.dcp``, one at a time, while training goes on.

    Tensors are copied to the CPU before :meth:`begin` returns; what comes after that is left to a
    thread, which talks to those of the other processes in a group of its own. A folder has its name
    only once every byte of it is on the disk.
    """

    def __init__(self) -> None:
        self._group: Any = None
        self._current: _Save | None = None

    @property
    def begun(self) -> bool:
        """Whether a save has not been finished."""
        return self._current is not None

    @property
    def done(self) -> bool:
        """Whether one has been begun that :meth:`finish` need not wait for."""
        return self._current is not None and self._current.future.done()

    def begin(self, runner: Runner, path: Path, meta: dict[str, Any], optimizer: bool) -> None:
        """Begin a save; all processes call this, after :meth:`finish`.

        Args:
            runner: Whose run is saved.
            path: Folder of the checkpoint.
            meta: Step and epoch.
            optimizer: Save its state, too.

        Raises:
            OSError: If the file system refuses at once.
            RuntimeError: If a hook's ``before_save_checkpoint`` fails; in all processes.
        """
        distributed = torch.distributed.is_initialized()
        if distributed and self._group is None:
            self._group = torch.distributed.new_group(backend='gloo')
        state = runner.optim_wrapper.state_dict() if optimizer else None
        tensors, rest = take_apart(unwrap(runner.model).state_dict(), state)
        temporary = _half(path)
        failed: Exception | None = None
        told: list[tuple[bool, str] | None] = [None]
        if is_main_process():
            try:
                _write_run(runner, temporary, meta, rest)
            except Exception as error:  # of all processes, or the others would wait for this one
                failed = error
                shutil.rmtree(temporary, ignore_errors=True)
                is_disk = isinstance(error, OSError)
                told = [(is_disk, str(error) if is_disk else f'{type(error).__name__}: {error}')]
        broadcast_object_list(told)
        if told[0] is not None:
            is_disk, words = told[0]
            raise (OSError if is_disk else RuntimeError)(words) from failed
        future = async_save(
            tensors,
            storage_writer=FileSystemWriter(temporary),
            process_group=self._group,
            no_dist=not distributed,
        )
        assert isinstance(future, Future)
        self._current = _Save(path, future, time.perf_counter())

    @property
    def path(self) -> str:
        """Folder of the save that has begun."""
        assert self._current is not None
        return str(self._current.path)

    def finish(self) -> float:
        """Wait for the save that has begun, and give the folder its name.

        Returns:
            Seconds since it was begun.

        Raises:
            OSError: If it has failed in any process.
        """
        assert self._current is not None
        save, self._current = self._current, None
        try:
            save.future.result()
        except (CheckpointException, Exception) as error:  # the former is no Exception
            if is_main_process():
                shutil.rmtree(_half(save.path), ignore_errors=True)  # the disk may be full of it
            raise OSError(str(error).strip().splitlines()[-1]) from error
        if is_main_process():
            _give_name(save.path)
        return time.perf_counter() - save.begun


def _write_run(
    runner: Runner, folder: Path, meta: dict[str, Any], optimizer: dict[str, Any] | None
) -> None:
    """Make the folder, with what is no tensor of weights or optimiser in it.

    Raises:
        OSError: If the file system refuses.
    """
    shutil.rmtree(folder, ignore_errors=True)
    state = run_state(runner, meta)
    if optimizer is not None:
        state['optimizer'] = optimizer
    with replace_when_complete(folder / RUN) as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # PyTorch's own, of a full disk
            raise OSError(str(error).strip().splitlines()[0]) from error


def _half(path: Path) -> Path:
    """The folder's name until it is complete."""
    return path.with_name(path.name + TEMPORARY_SUFFIX)


def _give_name(path: Path) -> None:
    """Rename the finished folder; an old one of that name goes only when the new one is there."""
    old = path.with_name(path.name + _OLD)
    if path.exists():
        path.rename(old)
    _half(path).rename(path)
    shutil.rmtree(old, ignore_errors=True)


def recover(directory: Path) -> None:
    """Give a folder its name back that a kill has kept from being replaced."""
    for old in directory.glob(f'*{SHARDED}{_OLD}'):
        path = old.with_name(old.name.removesuffix(_OLD))
        if not path.exists():
            old.rename(path)


def remove_checkpoint(path: Path) -> None:
    """Delete a file or a folder; half a folder never has the name."""
    if path.is_dir():
        gone = path.with_name(f'{path.name}.gone{TEMPORARY_SUFFIX}')
        path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink()


def run_state(runner: Runner, meta: dict[str, Any]) -> dict[str, Any]:
    """What MMEngine saves beside weights and optimiser; hooks add theirs."""
    meta = dict(
        meta,
        cfg=runner.cfg.pretty_text,
        seed=runner.seed,
        experiment_name=runner.experiment_name,
        time=time.strftime('%Y%m%d_%H%M%S', time.localtime()),
        mmengine_version=mmengine.__version__,
    )
    if hasattr(runner.train_dataloader.dataset, 'metainfo'):
        meta['dataset_meta'] = runner.train_dataloader.dataset.metainfo
    hub = runner.message_hub.state_dict()
    checkpoint = dict(
        meta=meta,
        message_hub=apply_to(hub, lambda value: hasattr(value, 'cpu'), lambda value: value.cpu()),
        param_schedulers=[scheduler.state_dict() for scheduler in runner.param_schedulers or ()],
    )
    runner.call_hook('before_save_checkpoint', checkpoint=checkpoint)
    return checkpoint
