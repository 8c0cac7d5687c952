"""The best checkpoint of a run (``save_best``): it goes only when a better one is complete."""

from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner


class BestCheckpointHook(CheckpointHook):
    """MMEngine's hook, which would delete the best checkpoint before it writes a better one.

    If writing fails (a full disk), it stays the best one, on all processes alike. A run that goes
    on in another folder leaves that of the first one alone.
    """

    last_ckpt: str | None

    def report_failure(self, runner: Runner, path: str, error: OSError) -> None:
        """Called by all processes when the best checkpoint could not be written."""
        raise error

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, float]) -> None:
        if not self.save_best:
            return
        info, paths, last = dict(runner.message_hub.runtime_info), self._best, self.last_ckpt
        self._best = dict.fromkeys(paths)
        self.last_ckpt = None  # or the base class saves once more, in the processes without error
        told: list[str | None] = [None]
        try:
            super()._save_best_checkpoint(runner, metrics)
        except OSError as error:
            told = [str(error)]
        finally:
            self.last_ckpt = last
        broadcast_object_list(told)
        better = {key: path for key, path in self._best.items() if path is not None}
        self._best = paths | better if told[0] is None else paths
        if told[0] is not None:
            runner.message_hub.runtime_info.clear()
            runner.message_hub.runtime_info.update(info)
            self.report_failure(runner, 'the best checkpoint', OSError(told[0]))
            return
        if is_main_process():
            for key in better:
                _remove(paths.get(key), better[key])
        if better and last is not None:  # which then knows of it
            step = runner.epoch if self.by_epoch else runner.iter
            meta = dict(epoch=runner.epoch, iter=runner.iter)
            self._save_checkpoint_with_step(runner, step, meta)

    @property
    def _best(self) -> dict[str, str | None]:
        """Paths by metric; MMEngine keeps that of a single one elsewhere."""
        if len(self.key_indicators) == 1:
            return {'': self.best_ckpt_path}
        return dict(self.best_ckpt_path_dict)

    @_best.setter
    def _best(self, paths: dict[str, Any]) -> None:
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = paths['']
        else:
            self.best_ckpt_path_dict = dict(paths)


def _remove(old: str | None, new: str) -> None:
    if old is not None and old != new and Path(old).parent == Path(new).parent:
        Path(old).unlink(missing_ok=True)
