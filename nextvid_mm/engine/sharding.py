"""Fully sharded training (torch's FSDP2): a Runner that cuts a model up and puts it together."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import CheckpointLoader, Runner
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from nextvid_mm.checks import check_count
from nextvid_mm.models.checkpoints.sharded import (
    assemble,
    is_sharded,
    outline,
    read_parts,
    read_run,
)
from nextvid_mm.registry import RUNNERS


def shard_model(
    model: nn.Module,
    units: Sequence[str] = (),
    shard_size: int | None = None,
    gather_dtype: str | None = None,
    reshard_after_forward: bool | int | None = None,
    forward_prefetch: int = 0,
    backward_prefetch: int = 0,
    reduce_once: bool = False,
) -> nn.Module:
    """Shard every parameter of ``model`` over the processes, in place.

    Each unit's parameters are gathered just before it runs and freed right after; whatever belongs
    to no unit is gathered once for the whole step. Frozen parameters are sharded in the same way,
    so an EMA update touches local shards only.

    Args:
        model: On the device of training, with the same weights on every process.
        units: Dotted names of submodules, inner before outer; of a ``ModuleList`` each item is a
            unit.
        shard_size: Processes that share one copy, usually the GPUs of a machine; the copies of
            different groups are kept equal as in DDP. None: all processes share one.
        gather_dtype: Type of gathered weights, None or 'bfloat16' (half the traffic and memory).
            Shards, gradients' sums and the optimiser stay in float32.
        reshard_after_forward: Free gathered weights after the forward pass, and gather them again
            for the backward pass. False keeps them until it is through (with ``reduce_once``, the
            last one of a step), for the memory of a whole copy. A number: shard them over so many
            processes in between. None: True, but for what belongs to no unit.
        forward_prefetch: Units of a ``ModuleList`` whose weights are asked for ahead of the one
            that runs; 0 asks for none.
        backward_prefetch: The same in the backward pass; 0 is PyTorch's own choice.
        reduce_once: Add up whole gradients of a step's micro-batches and reduce the sum.

    Returns:
        ``model``.

    Raises:
        ValueError: If a name is not a submodule, or another argument is not what it may be.
    """
    if gather_dtype not in (None, 'bfloat16'):
        raise ValueError(f"gather_dtype={gather_dtype!r}; allowed: [None, 'bfloat16']")
    for name, value in dict(forward=forward_prefetch, backward=backward_prefetch).items():
        check_count(value, f'model_wrapper_cfg.{name}_prefetch', least=0)
    mesh = _mesh(model, shard_size)
    _check_resharding(reshard_after_forward, mesh.size(-1))
    settings: dict[str, Any] = dict(mesh=mesh, reshard_after_forward=reshard_after_forward)
    if gather_dtype is not None:
        settings['mp_policy'] = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16,
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,  # autocast decides
        )
    for row in _rows(model, units):
        for unit in row:
            fully_shard(unit, **settings)
        _ask_ahead(row, forward_prefetch, backward_prefetch)
    fully_shard(model, **settings)
    if reduce_once:
        model.prepare_backward = partial(_prepare_backward, model, reshard_after_forward is False)
    return model


def _ask_ahead(row: list[Any], forward: int, backward: int) -> None:
    """Let units ask for the weights of those that run after them; see :func:`shard_model`."""
    for place, unit in enumerate(row):
        if forward:
            unit.set_modules_to_forward_prefetch(row[place + 1 :][:forward])
        if backward:
            unit.set_modules_to_backward_prefetch(row[:place][::-1][:backward])


def _rows(model: nn.Module, units: Sequence[str]) -> Iterator[list[Any]]:
    """The modules that each name stands for, in the order in which they run.

    Raises:
        ValueError: If a name is not a submodule.
    """
    for name in units:
        try:
            module = model.get_submodule(name)
        except AttributeError as error:
            raise ValueError(
                f'model_wrapper_cfg names {name!r}, which is not a part of {type(model).__name__}'
            ) from error
        yield list(module) if isinstance(module, nn.ModuleList) else [module]


def _check_resharding(value: Any, processes: int) -> None:
    """Raise unless a value of ``reshard_after_forward`` makes sense.

    Raises:
        ValueError: With the values allowed.
    """
    if value is None or isinstance(value, bool):
        return
    if not isinstance(value, int) or not 1 < value < processes or processes % value:
        fitting = [n for n in range(2, processes) if processes % n == 0]
        raise ValueError(
            f'model_wrapper_cfg.reshard_after_forward={value!r}; allowed: True, False, None or a '
            f'number that divides the {processes} processes of a copy: {fitting or "none here"}'
        )


def _prepare_backward(model: Any, keeps: bool, last: bool) -> None:
    """Before a backward pass, called by the optimiser's wrapper: gradients are reduced in the last.

    Until then, weights stay whole (``keeps``).
    """
    model.set_requires_gradient_sync(last)
    model.set_is_last_backward(last)
    if keeps:
        model.set_reshard_after_backward(last)


def free_gathered(model: nn.Module) -> None:
    """Free what passes without gradient have gathered, if a model is sharded."""
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def _mesh(model: nn.Module, shard_size: int | None) -> DeviceMesh:
    world = torch.distributed.get_world_size()
    device = next(model.parameters()).device.type
    if shard_size in (None, world):
        return init_device_mesh(device, (world,))
    if shard_size < 1 or world % shard_size:
        raise ValueError(f'shard_size={shard_size} does not divide the {world} processes')
    shape = (world // shard_size, shard_size)
    return init_device_mesh(device, shape, mesh_dim_names=('replicate', 'shard'))


def gather_weights(model: nn.Module) -> dict[str, Any]:
    """Whole weights on the CPU in the first process, an empty dict in the others; all must call."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_model_state_dict(model, options=options)


def load_weights(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Give every process its shards of a state dict that the first process holds.

    What it lacks stays as it was, as when MMEngine loads; hooks have said what may be missing.
    """
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, strict=False)
    set_model_state_dict(model, dict(state) if is_main_process() else {}, options=options)


def read_once(filename: str) -> dict[str, Any]:
    """Read a checkpoint in the first process; the others get it without the content of tensors.

    Returns:
        The checkpoint. In all but the first process, tensors of weights and optimiser lie on the
        meta device; single numbers, and everything else, are there.

    Raises:
        Exception: What went wrong in the first process, in all of them.
    """
    found: list[Any] = [None]
    checkpoint: dict[str, Any] = {}
    if is_main_process():
        try:
            checkpoint = CheckpointLoader.load_checkpoint(filename, map_location='cpu')
            found = [{key: _outline(key, value) for key, value in checkpoint.items()}]
        except Exception as error:  # raised again below, everywhere
            found = [error]
    broadcast_object_list(found)
    if isinstance(found[0], Exception):
        raise found[0]
    return checkpoint or found[0]


def _outline(key: str, value: Any) -> Any:
    if key in ('meta', 'message_hub', 'param_schedulers'):
        return value
    return apply_to(value, lambda v: isinstance(v, Tensor) and v.dim() > 0, lambda v: v.to('meta'))


def gather_optimizer_state(state: Any) -> Any:
    """Whole tensors on the CPU in place of the shards of an optimiser's state.

    ``torch.distributed.checkpoint`` would name parameters where plain checkpoints number them, and
    takes a step of the optimiser to learn its keys.

    All processes must call this; only the first keeps the result, the others get None for tensors.
    """
    keep = is_main_process()

    def collect(value: Tensor) -> Tensor | None:
        tensor = whole(value.detach())
        return tensor.cpu() if keep else None

    return apply_to(state, lambda value: isinstance(value, Tensor), collect)


def whole(value: Tensor) -> Tensor:
    """A plain tensor: ``value`` itself, or put together from all processes if it is sharded."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def scatter_optimizer_state(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """Every process's part of a whole optimiser state, cut as its parameters are.

    Of ``state``, the first process holds the content of tensors, see :func:`read_once`.
    """
    params = [parameter for group in optimizer.param_groups for parameter in group['params']]
    entries = {
        index: {key: _scatter(value, params[index]) for key, value in entry.items()}
        for index, entry in state['state'].items()
    }
    return {**state, 'state': entries}


def _scatter(value: Any, parameter: Tensor) -> Any:
    """The shard of a tensor that is shaped as its parameter; numbers such as ``step`` stay."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return value
    device = parameter.device
    value = torch.empty_like(value, device=device) if value.is_meta else value.to(device)
    if isinstance(parameter, DTensor) and value.shape == parameter.shape:
        # The content comes from the first process.
        return distribute_tensor(value, parameter.device_mesh, parameter.placements)
    torch.distributed.broadcast(value, src=0)
    return value


@RUNNERS.register_module()
class ShardedRunner(Runner):
    """MMEngine's Runner with parameters, gradients and optimiser sharded by ``fully_shard``.

    In a config: ``runner_type = 'ShardedRunner'`` and ``model_wrapper_cfg``, the arguments of
    :func:`shard_model`. With one process it is the plain Runner.

    Checkpoints hold whole tensors under the names and in the order of the plain Runner's: a run
    may continue under DDP, on another number of processes, or in one. The first process alone
    reads and writes files: allow for the size of one in the memory of its machine. With
    ``default_hooks.checkpoint.asynchronous``, every process reads and writes its own part.
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
        if is_sharded(filename):
            return self._load_shards(filename)
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

    def _load_shards(self, path: str) -> dict[str, Any]:
        """Read a sharded checkpoint: every process its part, however many have written it."""
        checkpoint = read_run(path)
        outlined = assemble(outline(path), checkpoint.get('optimizer'))
        self.call_hook('after_load_checkpoint', checkpoint=checkpoint | outlined)
        groups = self.optim_wrapper.optimizer.param_groups if self._resume else ()
        params = [parameter.detach() for group in groups for parameter in group['params']]
        optimizer = read_parts(path, self.model.state_dict(), params, checkpoint.get('optimizer'))
        if optimizer is not None:
            checkpoint['optimizer'] = optimizer
        self._has_loaded = True
        self.logger.info(f'Load checkpoint from {path}')
        return checkpoint

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """Put whole tensors into a checkpoint on its way out."""
        if self.is_sharded and fn_name == 'before_save_checkpoint':
            kwargs['checkpoint'].update(self._gathered)
        super().call_hook(fn_name, **kwargs)
