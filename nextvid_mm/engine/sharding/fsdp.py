"""Fully sharded training (torch's FSDP2): cut a model up, and put its state back together."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.utils import apply_to
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

GATHER_DTYPES = {None: None, 'bfloat16': torch.bfloat16}


def shard_model(
    model: nn.Module,
    units: Sequence[str] = (),
    methods: Mapping[str, str] | None = None,
    shard_size: int | None = None,
    gather_dtype: str | None = None,
) -> nn.Module:
    """Shard every parameter of ``model`` over the processes, in place.

    Each unit's parameters are gathered just before it runs and freed right after; whatever belongs
    to no unit is gathered once for the whole step. Frozen parameters, such as the reference
    encoder's, are sharded in the same way, so an EMA update touches local shards only.

    Args:
        model: On the device of training, with the same weights on every process.
        units: Dotted names of submodules; of a ``ModuleList`` each item is a unit.
        methods: For submodules that are entered by a method other than ``forward``: its name, by
            the submodule's dotted name. They are units too.
        shard_size: Processes that share one copy, usually the GPUs of a machine; the copies of
            different groups are kept equal as in DDP. None: all processes share one.
        gather_dtype: Type of gathered weights, None or 'bfloat16' (half the traffic and memory).
            Shards, gradients' sums and the optimiser stay in float32.

    Returns:
        ``model``.

    Raises:
        ValueError: If a name is not a submodule, or ``shard_size`` does not divide the number of
            processes, or ``gather_dtype`` is unknown.
    """
    methods = methods or {}
    if gather_dtype not in GATHER_DTYPES:
        raise ValueError(f'gather_dtype={gather_dtype!r}; allowed: {list(GATHER_DTYPES)}')
    settings: dict[str, Any] = dict(mesh=_mesh(model, shard_size))
    if gather_dtype is not None:
        settings['mp_policy'] = MixedPrecisionPolicy(
            param_dtype=GATHER_DTYPES[gather_dtype],
            reduce_dtype=torch.float32,
            cast_forward_inputs=False,  # autocast decides
        )
    for name in units:
        module = _submodule(model, name)
        for unit in module if isinstance(module, nn.ModuleList) else [module]:
            fully_shard(unit, **settings)
    for name, method in methods.items():
        module = _submodule(model, name)
        fully_shard(module, **settings)
        register_fsdp_forward_method(module, method)
    return fully_shard(model, **settings)


def _mesh(model: nn.Module, shard_size: int | None) -> DeviceMesh:
    world = torch.distributed.get_world_size()
    device = next(model.parameters()).device.type
    if shard_size in (None, world):
        return init_device_mesh(device, (world,))
    if shard_size < 1 or world % shard_size:
        raise ValueError(f'shard_size={shard_size} does not divide the {world} processes')
    shape = (world // shard_size, shard_size)
    return init_device_mesh(device, shape, mesh_dim_names=('replicate', 'shard'))


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        raise ValueError(
            f'model_wrapper_cfg names {name!r}, which is not a part of {type(model).__name__}'
        ) from error


def gather(state: Any) -> Any:
    """Put whole tensors on the CPU in place of the shards of a nested state.

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


def scatter_like(value: Tensor, like: Tensor) -> Tensor:
    """This process's shard of ``value``, cut as ``like`` is; ``value`` itself if that is whole."""
    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def scatter_model_state(state: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A whole state dict, cut as the parameters of ``model`` are."""
    present = model.state_dict()
    return {
        name: scatter_like(value, present[name]) if name in present else value
        for name, value in state.items()
    }


def scatter_optimizer_state(state: Mapping[str, Any], optimizer: Optimizer) -> dict[str, Any]:
    """A whole optimiser state, cut as its parameters are; numbers such as ``step`` stay."""
    params = [parameter for group in optimizer.param_groups for parameter in group['params']]
    entries = {
        index: {
            key: scatter_like(value, params[index])
            if isinstance(value, Tensor) and value.shape == params[index].shape
            else value
            for key, value in entry.items()
        }
        for index, entry in state['state'].items()
    }
    return {**state, 'state': entries}
