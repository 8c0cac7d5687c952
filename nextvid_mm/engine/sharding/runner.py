"""A Runner for models that are sharded over the processes (torch's FSDP2)."""

from typing import Any

from mmengine.device import get_device
from mmengine.runner import Runner
from torch import nn
from torch.distributed.fsdp import FSDPModule

from nextvid_mm.engine.sharding.fsdp import (
    gather_optimizer_state,
    gather_weights,
    load_weights,
    read_once,
    scatter_optimizer_state,
    shard_model,
)
from nextvid_mm.registry import RUNNERS


@RUNNERS.register_module()
class ShardedRunner(Runner):
    """MMEngine's Runner with parameters, gradients and optimiser sharded by ``fully_shard``.

    In a config: ``runner_type = 'ShardedRunner'`` and ``model_wrapper_cfg``, the arguments of
    :func:`~nextvid_mm.engine.sharding.fsdp.shard_model`. With one process it is the plain Runner.

    Checkpoints hold whole tensors under the names and in the order of the plain Runner's: a run
    may continue under DDP, on another number of processes, or in one. The first process alone
    reads and writes files: allow for the size of one in the memory of its machine.
    """

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Initialise the whole weights, which are then gone, and shard the model."""
        self._gathered: dict[str, Any] = {}  # the Runner's constructor calls this method
        if not self.distributed:
            return super().wrap_model(None, model)
        model = model.to(get_device())
        super()._init_model_weights()
        return shard_model(model, **(model_wrapper_cfg or {}))

    @property
    def is_sharded(self) -> bool:
        """Whether the parameters lie in shards."""
        return isinstance(self.model, FSDPModule)

    def _init_model_weights(self) -> None:
        if not self.is_sharded:
            super()._init_model_weights()

    def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Gather on all processes, then write on the first; arguments as in MMEngine."""
        if self.is_sharded:
            self._gathered['state_dict'] = gather_weights(self.model)
            if kwargs.get('save_optimizer', True):
                self._gathered['optimizer'] = gather_optimizer_state(
                    self.optim_wrapper.state_dict()
                )
        try:
            super().save_checkpoint(*args, **kwargs)
        finally:
            self._gathered.clear()

    def load_checkpoint(self, filename: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Read the file in the first process, and hand every process its shards.

        Hooks see the file in all processes, the content of tensors in the first alone.
        """
        if not self.is_sharded:
            return super().load_checkpoint(filename, *args, **kwargs)
        checkpoint = read_once(filename)
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint)
        load_weights(self.model, checkpoint.get('state_dict', checkpoint))
        if self._resume and 'optimizer' in checkpoint:
            checkpoint['optimizer'] = scatter_optimizer_state(
                checkpoint['optimizer'], self.optim_wrapper.optimizer
            )
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {filename}')
        return checkpoint

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Put whole tensors into a checkpoint on its way out."""
        if self.is_sharded and fn_name == 'before_save_checkpoint':
            kwargs['checkpoint'].update(self._gathered)
        super().call_hook(fn_name, **kwargs)
