"""Losses and norms of the steps, brought to the host when somebody wants them."""

from contextlib import suppress
from typing import Any, NamedTuple

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from torch import Tensor

from nextvid_mm.engine.clock import spent_on
from nextvid_mm.registry import HOOKS

# Steps that the log keeps of a number, at least: appending costs more the longer a history is.
_KEPT = 1000


class StepNumbers(NamedTuple):
    """What a step has brought."""

    step: int
    """From 1."""
    outputs: dict[str, float]
    """Losses."""
    skipped: bool
    """Its loss or gradient was not finite."""


@HOOKS.register_module(name='RuntimeInfoHook')
class NumbersHook(RuntimeInfoHook):
    """MMEngine's ``RuntimeInfoHook``, which does not make the host wait in every step.

    Losses, gradient norms and skipped steps stay on the device until they are logged (``interval``
    of the ``LoggerHook``), or somebody calls the hooks' ``gather_numbers``: then one copy brings
    them all, the log's histories get them in the order of their steps, and hooks with an
    ``after_numbers`` get a list of :class:`StepNumbers`. A history is no longer than the log's
    windows need.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, dict[str, Any]]] = []
        self.interval = 1
        self._longest: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Take the logger's interval and the longest of its windows."""
        super().before_train(runner)
        self._kept.clear()
        self.interval = log_interval(runner)
        self._longest = _longest_window(runner.log_processor)
        if hasattr(runner.optim_wrapper, 'deferred'):
            runner.optim_wrapper.deferred = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Keep the step's numbers, and bring all to the host if this step is logged."""
        numbers = {key: _without_graph(value) for key, value in (outputs or {}).items()}
        self._kept.append((runner.iter + 1, numbers))
        if is_logged(runner, batch_idx, self.interval):
            self.gather_numbers(runner)

    def after_train(self, runner: Runner) -> None:
        """Bring the last ones; whoever steps from now on waits for each."""
        self.gather_numbers(runner)
        if hasattr(runner.optim_wrapper, 'deferred'):
            runner.optim_wrapper.deferred = False
        super().after_train(runner)

    def after_failure(self, runner: Runner) -> None:
        """Bring what can be had: it may say why; called by ``StageTrainLoop``."""
        with suppress(Exception):
            self.gather_numbers(runner)

    def gather_numbers(self, runner: Runner) -> None:
        """Bring what was kept to the host."""
        if not self._kept:
            return
        kept, self._kept = self._kept, []
        with spent_on(runner, 'device'):
            skipped = runner.optim_wrapper.read() if hasattr(runner.optim_wrapper, 'read') else []
            values = _to_host([list(outputs.values()) for _, outputs in kept])
        if not hasattr(runner.train_loop, 'table'):  # a loop whose iterations are no steps
            skipped = []
        skipped = [*skipped, *[False] * len(kept)][: len(kept)]
        numbers = [
            StepNumbers(step, dict(zip(outputs, row, strict=True)), bad)
            for (step, outputs), row, bad in zip(kept, values, skipped, strict=True)
        ]
        for number in numbers:
            for key, value in number.outputs.items():
                runner.message_hub.update_scalar(f'train/{key}', value)
        for name, history in runner.message_hub.log_scalars.items():
            if self._longest is not None and name.startswith('train/'):
                history.max_length = self._longest
        runner.call_hook('after_numbers', numbers=numbers)


def log_interval(runner: Runner) -> int:
    """Steps between two lines of the log; 1 if nothing logs."""
    return min((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), default=1)


def is_logged(runner: Runner, batch_idx: int, interval: int) -> bool:
    """Whether a step's numbers are logged: by the interval, at the end of an epoch or run."""
    ends = batch_idx + 1 == len(runner.train_dataloader) or runner.iter + 1 == runner.max_iters
    return ends or (interval > 0 and (batch_idx + 1) % interval == 0)


def _longest_window(processor: Any) -> int | None:
    """Steps of the longest window; None if one is a whole epoch or run."""
    windows = [processor.window_size, *(c.get('window_size', 1) for c in processor.custom_cfg)]
    return None if any(isinstance(w, str) for w in windows) else max(_KEPT, *windows)


def _without_graph(value: Any) -> Any:
    return value.detach().double().reshape(()) if isinstance(value, Tensor) else value


def _to_host(rows: list[list[Any]]) -> list[list[float]]:
    """The same numbers without tensors, by one copy; float64 holds every float32 exactly."""
    tensors = [value for row in rows for value in row if isinstance(value, Tensor)]
    found = iter(torch.stack(tensors).tolist() if tensors else [])
    return [[next(found) if isinstance(v, Tensor) else v for v in row] for row in rows]
