"""Records of a run in files: unreadable samples, skipped steps, and every number exactly."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.datasets.video.files import format_line
from nextvid_mm.engine.hooks.numbers import StepNumbers
from nextvid_mm.files import append_line, write_text
from nextvid_mm.registry import HOOKS

REPLACED = 'replaced_samples'
SKIPPED = 'nonfinite_steps'
TRACE = 'trace.jsonl'
_SHOWN = 20
_CLIP_KEYS = ('position', 'source', 'path', 'sample_seed')


@HOOKS.register_module()
class FaultHook(Hook):
    """Lists unreadable samples and the clips of skipped steps in the work directory.

    - ``replaced_samples.txt``: one line ``path<TAB>reason`` for each file that was replaced by
      another, complete at the end of the run. Each process appends to
      ``replaced_samples.rankN.txt`` as it goes, so a killed run loses nothing.
    - ``nonfinite_steps.rankN.jsonl``: for each optimiser step that was skipped because its loss or
      gradient was not finite, the losses and the clips of this process.

    It reads what ``MixtureDataset`` says of every clip, see ``ClipBatch.info``.
    """

    # Before the logger: its counts belong into the line of their own step.
    priority = 'NORMAL'

    def __init__(self) -> None:
        self.replaced: dict[str, str] = {}
        self.count = 0
        self._clips: dict[int, list[dict[str, Any]]] = {}  # by step, until its numbers are known

    def _file(self, runner: Runner, name: str, kind: str) -> Path:
        return Path(runner.work_dir) / f'{name}.rank{runner.rank}.{kind}'

    def before_train(self, runner: Runner) -> None:
        """Forget the files of an earlier run in this directory, unless this one continues it."""
        if runner.iter > 0:
            return
        if is_main_process():  # also of processes that this run has not
            for name in (REPLACED, SKIPPED):
                for path in Path(runner.work_dir).glob(f'{name}.*'):
                    path.unlink()
        barrier()

    def after_micro_batch(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the samples of one micro-batch; called by ``StageTrainLoop``."""
        for info in getattr(data_batch.get('data_samples'), 'info', ()):
            known = {key: info[key] for key in _CLIP_KEYS if key in info}
            self._clips.setdefault(runner.iter + 1, []).append(known)
            for path, reason in info.get('replaced', ()):
                self._note(runner, path, reason)

    def _note(self, runner: Runner, path: str, reason: str) -> None:
        self.count += 1
        if path in self.replaced:
            return
        self.replaced[path] = reason
        name = format_line(path)  # a name may hold bytes that cannot be written as they are
        runner.logger.warning(f'replaced an unreadable sample: {name}: {reason}')
        append_line(self._file(runner, REPLACED, 'txt'), f'{name}\t{reason}')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Log the count of replaced samples."""
        if self.count:
            runner.message_hub.update_scalar('train/replaced_samples', self.count)

    def after_numbers(self, runner: Runner, numbers: Sequence[StepNumbers]) -> None:
        """Record skipped steps."""
        for step, outputs, skipped in numbers:
            clips = self._clips.pop(step, [])
            if skipped:
                record = dict(step=step, outputs=outputs, clips=clips)
                append_line(self._file(runner, SKIPPED, 'jsonl'), json.dumps(record))

    def after_train(self, runner: Runner) -> None:
        """Merge the processes' lists and say what was replaced."""
        barrier()
        if not is_main_process():
            return
        directory = Path(runner.work_dir)
        parts = [p.read_text(encoding='utf-8') for p in directory.glob(f'{REPLACED}.rank*.txt')]
        merged = sorted({line for part in parts for line in part.split('\n') if line})
        if not merged:
            return
        target = directory / f'{REPLACED}.txt'
        write_text(target, '\n'.join(merged) + '\n')
        more = f'\n  and {len(merged) - _SHOWN} more' if len(merged) > _SHOWN else ''
        runner.logger.warning(
            f'{len(merged)} files could not be read and were replaced by others of their source; '
            f'they are listed in {target}:\n  ' + '\n  '.join(merged[:_SHOWN]) + more
        )


@HOOKS.register_module()
class TraceHook(Hook):
    """Appends one line per step to ``trace.jsonl`` in the work directory.

    A line has the step (from 1), all losses and the gradient norm as hexadecimal floats, which lose
    no bit, and the learning rates. The file is only ever continued: after a kill, the steps since
    the last checkpoint appear twice. Add it to any config with
    ``--cfg-options default_hooks.trace.type=TraceHook``.
    """

    # After the hooks that change weights, before the checkpoint: a step that is saved is recorded.
    priority = 'LOW'

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write the step's line."""
        if not is_main_process():
            return
        norm = getattr(runner.optim_wrapper, 'grad_norm', None)
        line = dict(
            step=runner.iter + 1,
            losses={key: float(value).hex() for key, value in (outputs or {}).items()},
            grad_norm=None if norm is None else float(norm).hex(),
            lr=runner.optim_wrapper.get_lr(),
        )
        append_line(Path(runner.work_dir) / TRACE, json.dumps(line))
