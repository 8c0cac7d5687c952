"""A Runner for models that are sharded over the processes (torch's FSDP2)."""

from typing import Any

from mmengine.device import get_device
from mmengine.runner import Runner
from torch import nn
from torch.distributed.fsdp import FSDPModule

from nextvid_mm.engine.sharding.fsdp import (
    gather,
    scatter_model_state,
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
    may continue under DDP, on another number of processes, or in one. Every process reads the
    whole file when resuming: allow for its size in memory, once per process of a machine.
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
            self._gathered['state_dict'] = gather(self.model.state_dict())
            if kwargs.get('save_optimizer', True):
                self._gathered['optimizer'] = gather(self.optim_wrapper.state_dict())
        try:
            super().save_checkpoint(*args, **kwargs)
        finally:
            self._gathered.clear()

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume as MMEngine does, with the file's whole tensors on the CPU."""
        if self.is_sharded:
            kwargs.setdefault('map_location', 'cpu')
        super().resume(filename, *args, **kwargs)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Exchange shards for whole tensors in a checkpoint on its way out, and back."""
        checkpoint: dict[str, Any] = kwargs.get('checkpoint', {})
        if self.is_sharded and fn_name == 'before_save_checkpoint':
            checkpoint.update(self._gathered)
        super().call_hook(fn_name, **kwargs)
        if self.is_sharded and fn_name == 'after_load_checkpoint':
            self._scatter(checkpoint)

    def _scatter(self, checkpoint: dict[str, Any]) -> None:
        """Cut a loaded checkpoint up; hooks have compared its whole tensors with the model."""
        weights = checkpoint.get('state_dict', checkpoint)
        sharded = scatter_model_state(weights, self.model)
        weights.clear()
        weights.update(sharded)
        if self._resume and 'optimizer' in checkpoint:
            checkpoint['optimizer'] = scatter_optimizer_state(
                checkpoint['optimizer'], self.optim_wrapper.optimizer
            )
