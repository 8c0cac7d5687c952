"""Pictures while a model trains."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch.nn.parallel import DistributedDataParallel

from nextvid_mm.checks import check_count
from nextvid_mm.layers import run_eagerly
from nextvid_mm.registry import HOOKS, unwrap

from .sheets import draw_sheet


@HOOKS.register_module()
class GenerationVisHook(Hook):
    """Logs a sheet of original, masked and generated frames every ``interval`` steps.

    The sheet goes to every backend of the config's ``visualizer``: TensorBoard, Weights & Biases,
    or files in the work directory. Its clips are the first of the step. No random number of the
    training is drawn: training goes on bit for bit as without this hook.

    Args:
        interval: steps between sheets.
        clips: clips on a sheet.
        num_steps: solver steps.
        name: of the picture in the log.

    Raises:
        ValueError: if ``interval`` or ``clips`` is below 1.
    """

    # Before the logger (60), so that the picture of a step is there with its numbers.
    priority = 55

    def __init__(
        self, interval: int = 1000, clips: int = 4, num_steps: int = 20, name: str = 'generated'
    ) -> None:
        for key, value in (('interval', interval), ('clips', clips)):
            check_count(value, f'GenerationVisHook.{key}')
        self.interval, self.clips, self.num_steps, self.name = interval, clips, num_steps, name
        self._batch: dict[str, Any] | None = None

    def before_train(self, runner: Runner) -> None:
        """Refuse what cannot be shown, at the start instead of after ``interval`` steps."""
        model = unwrap(runner.model)
        if model is not runner.model and not isinstance(runner.model, DistributedDataParallel):
            raise ValueError(
                f'GenerationVisHook works with DDP and single processes, found sharded weights '
                f'({type(runner.model).__name__}): remove it from custom_hooks'
            )
        if not hasattr(model, 'generate') or not getattr(model.head, 'generates', False):
            raise ValueError(
                f'GenerationVisHook needs a model that generates, found {type(model).__name__} '
                f'with head={type(getattr(model, "head", None)).__name__}: remove it from '
                'custom_hooks'
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the clips to show."""
        if self.every_n_train_iters(runner, self.interval) and is_main_process():
            self._batch = dict(
                inputs=data_batch['inputs'][: self.clips],
                data_samples=data_batch['data_samples'].take(slice(self.clips)),
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Draw and log the sheet with the weights of this step."""
        if self._batch is None:
            return
        model = unwrap(runner.model)
        data = model.data_preprocessor(self._batch, training=False)
        self._batch = None
        training = model.training
        # The solver needs none of the process's random numbers; the fork makes sure of it.
        with torch.random.fork_rng(), run_eagerly(model):
            model.eval()
            image = draw_sheet(
                model, data['inputs'].flatten(0, 1), data['data_samples'], self.num_steps
            )
        model.train(training)
        runner.visualizer.add_image(self.name, np.asarray(image), step=runner.iter + 1)
