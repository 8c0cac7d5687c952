"""Checkpoints that survive kills, full disks and changed configs."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.runner import CheckpointLoader, Runner

from nextvid_mm.engine.async_saves import AsyncSaver, recover, remove_checkpoint
from nextvid_mm.engine.checkpoints import (
    damage,
    fit_start_weights,
    list_checkpoints,
    newest_good,
    require_everywhere,
    sharded_name,
    start_file,
)
from nextvid_mm.engine.clock import spent_on
from nextvid_mm.engine.hooks.best import BestCheckpointHook
from nextvid_mm.engine.hooks.numbers import is_logged, log_interval
from nextvid_mm.engine.processes import SignalFlag, WaitStopped
from nextvid_mm.files import TEMPORARY_SUFFIX, write_text
from nextvid_mm.layers import check_state
from nextvid_mm.models.checkpoints import read_checkpoint
from nextvid_mm.models.checkpoints.files import SHARDED
from nextvid_mm.registry import HOOKS, unwrap

_OTHER_MODEL = (
    'Resume with the config it was trained with (its copy lies in the work directory). A new run, '
    'with load_from and without --resume, may start from an encoder alone.'
)


@CheckpointLoader.register_scheme(prefixes=r'.*\.safetensors$')
def load_exported(filename: str, map_location: Any = None) -> dict[str, Any]:
    """An exported encoder or model, for MMEngine's ``load_from``; it stays on the CPU."""
    checkpoint = read_checkpoint(filename)
    state = {k: v for k, v in checkpoint['state_dict'].items() if k != '_extra_state'}
    return dict(checkpoint, state_dict=state)


@HOOKS.register_module()
class SafeCheckpointHook(BestCheckpointHook):
    """MMEngine's ``CheckpointHook`` for runs that get killed.

    - A file appears under its name only when it is complete on the disk, and older ones are deleted
      only after that. If writing fails (a full disk), training goes on with the previous
      checkpoint.
    - ``--resume`` takes the newest undamaged checkpoint, and refuses one of another model or with
      another past in its stage table, saying what differs. ``load_from`` takes a whole model or an
      encoder alone, and refuses anything else.
    - Ctrl-C, SIGTERM, SIGUSR1 (preemption) and SIGHUP (a closed terminal) save after the current
      step and end the run; a second Ctrl-C ends it at once. Several processes have to agree, which
      makes them wait for each other: they do so after the steps that are logged.

    Args:
        interval: Steps (or epochs) between checkpoints; -1 saves at the end only.
        by_epoch: Count ``interval`` in epochs; a stop inside of one saves under its step's number.
        max_keep_ckpts: Number of checkpoints to keep; -1 keeps all.
        signals: Names of the signals that save and end the run.
        asynchronous: Save as folders ``iter_N.dcp`` into which every process writes its own part,
            while training goes on; ``tools/convert_checkpoint.py --from sharded`` makes a file of
            one. Needs the memory of a copy of weights and optimiser on the CPU.
        max_minutes: Save also when the last save is so long ago: what an accident costs at most.
            Only where ``interval`` counts steps; None: by ``interval`` alone.
        start_from: ``load_from`` of a run that is asked to resume (``--resume`` writes it here):
            what it starts from where there is no checkpoint yet.
        **kwargs: Further arguments of ``mmengine.hooks.CheckpointHook``.
    """

    def __init__(
        self,
        interval: int = 1000,
        by_epoch: bool = False,
        max_keep_ckpts: int = 2,
        signals: Sequence[str] = ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP'),
        max_minutes: float | None = 30.0,
        asynchronous: bool = False,
        start_from: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault('backend_args', dict(backend='atomic'))
        # The base class would delete old checkpoints before it writes the new one.
        super().__init__(interval=interval, by_epoch=by_epoch, max_keep_ckpts=-1, **kwargs)
        self.keep = max_keep_ckpts
        self.flag = SignalFlag(signals)
        if max_minutes is not None and not max_minutes > 0:
            raise ValueError(
                f'SafeCheckpointHook.max_minutes={max_minutes} must be None or above 0'
            )
        self.max_minutes, self.start_from = max_minutes, start_from
        self.saver = AsyncSaver() if asynchronous else None
        self._saved_at = time.monotonic()
        self.stopped_by: str | None = None
        self._validated: int | None = None  # steps that were done at the last validation

    def _directory(self, runner: Runner) -> Path:
        """Where checkpoints lie; before training the base class has not resolved it yet."""
        if self.out_dir is None or str(self.out_dir) == runner.work_dir:
            return Path(runner.work_dir)
        return Path(self.out_dir) / Path(runner.work_dir).name

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to resume or start from, before the Runner looks for one."""
        if self.saver is not None and any(isinstance(h, MMEngineEMAHook) for h in runner.hooks):
            raise ValueError(
                "found default_hooks.checkpoint.asynchronous=True beside type='mmengine.EMAHook', "
                'which exchanges the weights of whole checkpoints: set asynchronous=False, or '
                'remove the hook from custom_hooks'
            )
        given = runner._load_from
        if not runner._resume:
            runner._load_from = start_file(given)
            return
        choice: list[Any] = [None, {}]
        if is_main_process():  # the others need not read whole files, too
            recover(self._directory(runner))
            if given is None:
                choice = list(newest_good(self._directory(runner), self.filename_tmpl))
            elif Path(given).exists():
                choice[1] = damage(given)
        broadcast_object_list(choice)
        path, damaged = choice
        if given is not None:
            if damaged:
                raise ValueError(
                    f'cannot resume from {given}: {damaged}. Use --resume without a path to take '
                    'the newest undamaged checkpoint of the work directory.'
                )
            return
        for file, fault in damaged.items():
            runner.logger.warning(f'damaged checkpoint is not used: {file}: {fault}')
        if path is None:
            source = '' if self.start_from is None else f' from {self.start_from}'
            where = self._directory(runner)
            runner.logger.info(f'No checkpoint in {where}: starting afresh{source}.')
            runner._resume, runner._load_from = False, start_file(self.start_from)
        else:
            require_everywhere(path)
            runner._load_from = str(path)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume what does not belong to this run, or to start from half a model."""
        model = unwrap(runner.model)
        if not runner._resume:
            weights = checkpoint.get('state_dict', checkpoint)
            what = f'load_from={str(runner._load_from)!r}'
            if fit_start_weights(weights, model.state_dict(), what):
                runner.logger.info(
                    f'{what} holds an encoder alone: model.backbone and its reference encoder '
                    'start from it, everything else starts anew.'
                )
            return
        what = f'cannot resume from {runner._load_from}, a checkpoint of another model'
        check_state(checkpoint['state_dict'], model.state_dict(), what, _OTHER_MODEL)
        meta = checkpoint['meta']
        meta.pop('config', None)  # which MMEngine would run as Python; it writes no such key itself
        if meta.get('validated', False):
            self._validated, runner.train_loop.validated = meta['iter'], True
        if hasattr(runner.train_loop, 'check_past'):
            runner.train_loop.check_past(meta)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Store what :meth:`after_load_checkpoint` looks at."""
        meta = checkpoint['meta']
        if hasattr(runner.train_loop, 'past'):
            meta.update(runner.train_loop.past())
        meta['validated'] = meta['iter'] == self._validated

    def before_train(self, runner: Runner) -> None:
        """Clear away half-written files of a killed run and start noting signals."""
        super().before_train(runner)
        if is_main_process():
            for path in self._directory(runner).glob(f'*.pth*{TEMPORARY_SUFFIX}'):
                path.unlink()
            for path in self._directory(runner).glob(f'*{SHARDED}*{TEMPORARY_SUFFIX}'):
                shutil.rmtree(path)
            if runner._resume and Path(runner._load_from).exists():
                # Until the first save, a run that is started again goes on from here.
                self._note(runner, str(Path(runner._load_from).absolute()))
        self._saved_at, self.stopped_by = time.monotonic(), None
        self.flag.install()

    def before_encoding(self, runner: Runner) -> None:
        """A signal ends this at once: there is nothing to save; called by ``ExactEpochLoop``."""
        self.flag.remove()

    def after_encoding(self, runner: Runner) -> None:
        """Note signals again."""
        self.flag.install()

    def after_failure(self, runner: Runner) -> None:
        """Give the signals back; called by the loop."""
        self.flag.remove()
        if runner.world_size == 1:  # others may have failed before they began
            self._finish(runner)

    def after_train(self, runner: Runner) -> None:
        """Give the signals back; publish, if asked to."""
        self.flag.remove()
        self._finish(runner)
        super().after_train(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Save where the interval says so, or save and stop where a signal does."""
        if self.saver is not None and self.saver.done:
            self._finish(runner)
        if self.by_epoch:
            super().after_train_iter(runner, batch_idx, data_batch, outputs)
            return
        asked = ''
        if runner.world_size == 1 or is_logged(runner, batch_idx, log_interval(runner)):
            asked = self.flag.agreed(due=self._is_overdue())
        if asked in ('another', 'SIGINT'):
            self._end(runner, self.flag.seen or asked)
            self._save_checkpoint(runner)
            return
        before = self._saved_at
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        if asked == 'due' and self._saved_at == before:
            self._save_checkpoint(runner)

    def _is_overdue(self) -> bool:
        if self.max_minutes is None or not self.interval > 0:
            return False
        return time.monotonic() - self._saved_at > 60 * self.max_minutes

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """A run on one process does not finish its validation when it has been signalled.

        Raises:
            WaitStopped: If it has; ``StageTrainLoop`` then saves.
        """
        if hasattr(runner._train_loop, 'table') and self.flag.seen and runner.world_size == 1:
            raise WaitStopped

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Note that the step is validated, then save if it is the best one."""
        self._validated = runner.iter
        super().after_val_epoch(runner, metrics)

    def after_train_epoch(self, runner: Runner) -> None:
        """The same at the end of an epoch."""
        if self.by_epoch and (asked := self.flag.agreed()):
            self._end(runner, self.flag.seen or asked)
            self._save_checkpoint(runner)
            return
        super().after_train_epoch(runner)

    def before_abandoned_step(self, runner: Runner) -> None:
        """Save what the last whole step left; called when the loader of a loop hangs."""
        runner.optim_wrapper.zero_grad()
        done = runner.iter
        if done == 0:
            runner.logger.warning(f'{self.flag.seen}: ending the run before its first step.')
            self.stopped_by = self.flag.seen
            return
        self._end(runner, self.flag.seen or 'a signal')
        # Not as MMEngine saves: after a step that is still running, or at the end of an epoch.
        self._save_checkpoint_with_step(runner, done, dict(epoch=runner.epoch, iter=done))

    def _end(self, runner: Runner, name: str) -> None:
        said = 'a signal to another process' if name == 'another' else name
        runner.logger.warning(f'{said}: saving and ending the run. Continue it with --resume.')
        runner.train_loop.stop_training, self.stopped_by = True, name

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Write, then note the file's name, then delete what is too old."""
        runner.call_hook('gather_numbers')
        with spent_on(runner, 'save'):
            self._save(runner, step, meta)

    def _save(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        name = self.filename_tmpl.format(step)
        name = name if self.saver is None else sharded_name(name)
        path = self.file_backend.join_path(self.out_dir, name)
        self._finish(runner)
        runner.message_hub.update_info('last_ckpt', path)
        start = time.perf_counter()
        self._saved_at = time.monotonic()  # also if it fails: the next attempt has its time, too
        try:
            if self.saver is not None:
                self.saver.begin(runner, Path(path), meta, self.save_optimizer)
                return
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
        except OSError as error:
            self.report_failure(runner, path, error)
            return
        self._note_saved(runner, path, time.perf_counter() - start)

    def _finish(self, runner: Runner) -> None:
        """Wait for a save in the background, if there is one."""
        if self.saver is None or not self.saver.begun:
            return
        path = self.saver.path
        try:
            with spent_on(runner, 'save'):
                seconds = self.saver.finish()
        except OSError as error:
            self.report_failure(runner, path, error)
        else:
            self._note_saved(runner, path, seconds)

    def _note_saved(self, runner: Runner, path: str, seconds: float) -> None:
        """Say it, note it, and delete what is too old."""
        self.last_ckpt = path
        if is_main_process():
            runner.logger.info(f'Saved {path} in {seconds:.1f} s')
            self._note(runner, path)
            self._delete_old(Path(path))

    def _note(self, runner: Runner, path: str) -> None:
        write_text(Path(runner.work_dir) / 'last_checkpoint', path)

    def report_failure(self, runner: Runner, path: str, error: OSError) -> None:
        """Go on after a failed save, unless it was the last chance."""
        last = runner.train_loop.stop_training or runner.iter + 1 >= runner.max_iters
        kept = self.last_ckpt or 'none in this process'
        message = (
            f'cannot write {path}: {error}. Newest checkpoint before it: {kept}. Free some space, '
            'lower default_hooks.checkpoint.max_keep_ckpts or set out_dir to another disk.'
        )
        if last:
            raise OSError(message) from error
        runner.logger.error(f'{message} Training goes on; the next attempt comes as scheduled.')

    def _delete_old(self, newest: Path) -> None:
        if self.keep <= 0:
            return
        others = [p for p in list_checkpoints(newest.parent, self.filename_tmpl) if p != newest]
        for path in others[self.keep - 1 :]:
            remove_checkpoint(path)
