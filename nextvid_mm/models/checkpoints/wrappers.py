"""Weights as training codes wrap them: under which key, averaged or trained, with what prefixes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

# Averaged weights are what is published and evaluated, and what timm's own loader takes.
AVERAGED = ('state_dict_ema', 'model_ema', 'ema_state_dict', 'ema_model', 'ema', 'teacher')
TRAINED = ('state_dict', 'model', 'module', 'model_state_dict', 'student')
# What torch.compile, activation checkpointing, FSDP and Lightning put into names.
_INSERTED = re.compile(
    r'_orig_mod\.|_checkpoint_wrapped_module\.|_fsdp_wrapped_module\.|_forward_module\.'
)
_COUNTER = 'n_averaged'  # of torch.optim.swa_utils


@dataclass(frozen=True)
class FoundWeights:
    """A state dict out of a file.

    Attributes:
        state: tensors by name, without the prefixes of wrappers.
        key: where it was, such as ``state_dict_ema``; empty if the file holds nothing else.
        others: further state dicts of the file.
    """

    state: dict[str, Tensor]
    key: str
    others: tuple[str, ...]

    @property
    def note(self) -> str:
        """Which was taken, if there was a choice; empty otherwise."""
        if not self.others:
            return ''
        kind = 'averaged weights' if self.key in AVERAGED else 'trained weights'
        return f'{self.key} ({kind}); the file also holds {", ".join(self.others)}'


def find_weights(content: Mapping[str, Any], source: str, key: str | None = None) -> FoundWeights:
    """The state dict of a file: averaged weights (EMA) before trained ones.

    Args:
        content: what ``read_file`` gave.
        source: start of messages.
        key: the one that is wanted; None takes the first of ``AVERAGED`` and ``TRAINED``.

    Raises:
        ValueError: if there is none, or not under ``key``, or only empty parts of one.
    """
    there = [k for k in (*AVERAGED, *TRAINED) if isinstance(content.get(k), Mapping)]
    if key is not None and not isinstance(content.get(key), Mapping):
        known = ', '.join(there) or 'none'
        raise ValueError(f'{source}: there is no state dict under {key!r}; there are: {known}')
    chosen = key or (there[0] if there else '')
    inner: Any = content[chosen] if chosen else content
    for wrapper in TRAINED:  # a whole checkpoint under a key
        if isinstance(inner.get(wrapper), Mapping):
            inner = inner[wrapper]
    state = bare(inner, source)
    others = tuple(k for k in there if k != chosen)
    if not state:
        first = ', '.join(map(str, list(inner)[:5])) or 'nothing'
        raise ValueError(f'{source}: there are no tensors by name; it holds {first}')
    if all(value.numel() == 0 for value in state.values()):
        raise ValueError(
            f'{source}: its tensors are empty, as in one part of a DeepSpeed ZeRO-3 checkpoint: '
            'join the parts with its zero_to_fp32.py first'
        )
    return FoundWeights(state, chosen, others)


def bare(state: Mapping[Any, Any], source: str) -> dict[str, Tensor]:
    """The tensors of a state dict without ``module.``, ``_orig_mod.`` and their like.

    Raises:
        ValueError: if two names become one.
    """
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        if not isinstance(value, Tensor) or name == _COUNTER:
            continue
        short = _INSERTED.sub('', str(name))
        while short.startswith('module.'):
            short = short.removeprefix('module.')
        if short in found:
            raise ValueError(f'{source}: {short} is there twice, with and without a prefix')
        found[short] = value
    return found


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict under ``prefix``, without it; all of it if nothing is."""
    part = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
    return part or dict(state)


def log_choice(found: FoundWeights, path: str | Path) -> None:
    """Log which of several state dicts of a file is used."""
    from mmengine.logging import print_log

    if found.note:
        print_log(f'{path}: taking {found.note}', 'current')
