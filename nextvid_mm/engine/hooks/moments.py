"""Encoders from the middle of a run, with what they had cost until then."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.distributed.fsdp import FSDPModule

from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.models.checkpoints import EncoderOrigin, plain_config
from nextvid_mm.registry import HOOKS, unwrap

FOLDER = 'moments'
_WINDOW = 20  # steps that losses are averaged over


@HOOKS.register_module()
class MomentHook(Hook):
    """Keeps the trained encoder at some moments of a run, for curves instead of end points.

    ``moments/step_N.pth`` in the work directory is the encoder, for every tool that takes one;
    ``moments/step_N.json`` says what it had cost: ``step``, ``clips``, ``cpu_seconds`` of this
    process (a busy machine does not lengthen them), ``seconds`` by the clock, and the losses.
    A run that is resumed goes on counting where its checkpoint was; what was lost after it is not
    counted. With loader workers, their processor time is not counted either: set
    ``train_dataloader.num_workers=0``.

    Args:
        fractions: of the run's steps, each above 0 and at most 1.

    Raises:
        ValueError: if a fraction is outside.
    """

    # After EMAHook and what measures (55), before the checkpoint (80) that takes the time along.
    priority = 70

    def __init__(self, fractions: Sequence[float] = (0.1, 0.2, 0.4, 0.7, 1.0)) -> None:
        if not fractions or not all(0 < part <= 1 for part in fractions):
            raise ValueError(
                f'MomentHook.fractions={list(fractions)} must be numbers above 0 and at most 1'
            )
        self.fractions = fractions
        self._before = dict(cpu_seconds=0.0, seconds=0.0)
        self._start = dict(cpu_seconds=0.0, seconds=0.0)

    def steps(self, total: int) -> list[int]:
        """The moments of a run of ``total`` steps, each once, in order."""
        return sorted({max(1, round(part * total)) for part in self.fractions})

    def spent(self) -> dict[str, float]:
        """Seconds of training until now."""
        now = _clocks()
        return {key: self._before[key] + now[key] - self._start[key] for key in now}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        stored = checkpoint.get('meta', {}).get('spent')
        if runner._resume and stored is not None:
            self._before = stored

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Take the time along."""
        checkpoint['meta']['spent'] = self.spent()

    def before_train(self, runner: Runner) -> None:
        """Start the clocks: what came before is no training.

        Raises:
            ValueError: If the model is sharded: no process has the whole encoder.
        """
        if isinstance(unwrap(runner.model), FSDPModule):
            raise ValueError(
                "found type='MomentHook' in custom_hooks, which writes the whole encoder and does "
                "not work with runner_type='ShardedRunner': remove it, or do not shard"
            )
        self._start = _clocks()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the encoder, if this is a moment; what that takes is not counted."""
        step = runner.iter + 1
        if step not in self.steps(runner.max_iters):
            return
        runner.call_hook('gather_numbers')
        spent = self.spent()
        if is_main_process():
            write_moment(runner, step, spent)
        now = _clocks()
        self._before, self._start = spent, now


def write_moment(runner: Runner, step: int, spent: dict[str, float]) -> None:
    """Write encoder and costs, in process 0; the costs last, so that where they are, both are."""
    model, hub = unwrap(runner.model), runner.message_hub
    folder = Path(runner.work_dir) / FOLDER
    config = plain_config(runner.cfg.model.backbone)
    origin = EncoderOrigin(None, 'encoder', '', step, config)
    state = {f'backbone.{name}': value for name, value in model.backbone.state_dict().items()}
    with replace_when_complete(folder / f'step_{step}.pth') as path:
        torch.save(
            dict(state_dict=state | {'_extra_state': origin.as_tensor()}, meta=dict(iter=step)),
            path,
        )
    losses = {
        name.removeprefix('train/'): float(scalar.mean(_WINDOW))
        for name, scalar in hub.log_scalars.items()
        if 'loss' in name
    }
    clips = runner.train_loop.table.samples_before(step)
    record = dict(step=step, clips=clips, **spent, losses=losses)
    write_text(folder / f'step_{step}.json', json.dumps(record, indent=1) + '\n')


def _clocks() -> dict[str, float]:
    return dict(cpu_seconds=time.process_time(), seconds=time.perf_counter())
