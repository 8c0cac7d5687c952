"""Epochs that a killed run continues exactly, for training probes."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from nextvid_mm.datasets.request import derive_seed
from nextvid_mm.engine.loops import run_seed
from nextvid_mm.registry import LOOPS


@LOOPS.register_module()
class ExactEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop with a global batch size and exact resume, also inside an epoch.

    Everything random in a step follows from (seed, epoch, position in the epoch). A run resumed
    from a checkpoint of any step continues bit for bit, and reads no sample a second time.

    Args:
        runner: The MMEngine Runner.
        dataloader: The config's ``train_dataloader``; its ``batch_size`` is that of all processes
            together, its sampler an ``EpochSampler``.
        max_epochs: Epochs of the run.
        val_begin: First epoch after which validation may run.
        val_interval: Epochs between validations; one follows the last epoch in any case.

    Raises:
        ValueError: If the batch does not divide into the processes.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
    ) -> None:
        config = dict(dataloader)
        batch, world = config['batch_size'], runner.world_size
        if batch % world:
            raise ValueError(
                f'train_dataloader.batch_size={batch} is the batch of all processes together and '
                f'cannot be split evenly over {world}'
            )
        config['batch_size'] = batch // world
        config['sampler'] = dict(type='EpochSampler', shuffle=True) | dict(
            config.get('sampler') or {}
        )
        super().__init__(runner, config, max_epochs, val_begin, val_interval)

    def run(self) -> nn.Module:
        """Train from the runner's step to the last epoch, or until a hook stops it."""
        self.runner.call_hook('before_train')
        while self._epoch < self._max_epochs:
            self.run_epoch()
            if self.stop_training:
                break
            if self._should_validate():
                self.runner.val_loop.run()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Run the rest of an epoch; a hook that stops training leaves it unfinished."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._iter - self._epoch * len(self.dataloader)
        sampler = self.dataloader.sampler
        # Of a seed drawn at random, resuming has brought back the one drawn then.
        sampler.seed = run_seed(self.runner)
        sampler.set_epoch(self._epoch)
        sampler.set_skip(done * self.dataloader.batch_size)
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
            if self.stop_training:
                return
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one optimiser step."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        torch.manual_seed(derive_seed(run_seed(runner), self._iter, runner.rank))
        outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        step = dict(batch_idx=idx, data_batch=data_batch, outputs=outputs)
        runner.call_hook('after_micro_batch', **step)
        runner.call_hook('after_train_iter', **step)
        self._iter += 1

    def _should_validate(self) -> bool:
        if self.runner.val_loop is None or self._epoch < self.val_begin:
            return False
        return self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
