"""Low-rank updates of linear layers (LoRA, arXiv 2106.09685), by the library ``peft``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor, nn

TARGETS = ('qkv', 'proj')
_KNOWN = (*TARGETS, 'fc1', 'fc2')
_BASE, _UPDATE = '.base_layer.', '.lora_'
Network = TypeVar('Network', bound=nn.Module)


def add_lora(
    network: nn.Module,
    rank: int = 8,
    alpha: int = 16,
    dropout: float = 0.0,
    targets: Sequence[str] = TARGETS,
) -> None:
    """Put trainable low-rank updates beside linear layers, and freeze everything else.

    Args:
        network: whose layers are wrapped, in place.
        rank: of an update.
        alpha: an update is scaled by ``alpha / rank``.
        dropout: before an update.
        targets: names of the layers: ``qkv`` and ``proj`` of the attention, ``fc1`` and ``fc2`` of
            the MLP.

    Raises:
        ImportError: without peft.
        ValueError: for another target, or a rank below 1.
    """
    if rank < 1 or not targets or set(targets) - set(_KNOWN):
        raise ValueError(
            f'tuned=dict(lora=dict(rank={rank}, targets={list(targets)})): rank must be at least '
            f'1, and targets some of {list(_KNOWN)}'
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError(
            'tuned=dict(lora=...) needs the library peft, which is not installed: pip install '
            f'--no-deps peft accelerate psutil ({error})'
        ) from error
    settings = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets)
    )
    inject_adapter_in_model(settings, network)


def reset_lora(network: nn.Module) -> None:
    """Let all updates start from nothing."""
    for module in network.modules():
        if hasattr(module, 'reset_lora_parameters'):
            for adapter in module.lora_A:
                module.reset_lora_parameters(adapter, True)


def has_lora(network: nn.Module) -> bool:
    """Whether some layers have low-rank updates."""
    return any(hasattr(module, 'reset_lora_parameters') for module in network.modules())


def with_updates(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The state dict of a network without updates, as one of ``network``, which may have some.

    Updates are those of ``network``.
    """
    renamed = dict(state)
    for name, value in network.state_dict().items():
        plain = name.replace(_BASE, '.')
        if _UPDATE in name:
            renamed.setdefault(name, value)
        elif plain != name and plain in renamed:
            renamed[name] = renamed.pop(plain)
    return renamed


def merged(network: Network) -> Network:
    """A copy whose updates are part of the weights, with the layers and names from before."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            layer: Any = child
            if hasattr(layer, 'reset_lora_parameters'):
                layer.merge()
                setattr(parent, name, layer.get_base_layer())
    return network
