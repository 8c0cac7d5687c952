"""An exact record of a run, to compare runs bit for bit."""

import json
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.registry import HOOKS

TRACE = 'trace.jsonl'


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
        with open(Path(runner.work_dir) / TRACE, 'a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
