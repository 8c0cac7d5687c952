"""A state dict fits a module exactly, or the message says how it differs: the first by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

SHOWN = 5


def check_state(
    found: Mapping[str, Any], expected: Mapping[str, Any], what: str, advice: str = ''
) -> None:
    """Raise unless two state dicts have the same names and shapes.

    Extra states (of ``get_extra_state``), whose size is free, are left out.

    Args:
        found: the state dict of a file.
        expected: the state dict of the module it is to fill (shapes only: the meta device will do).
        what: start of the message, such as the file's name.
        advice: its last line.

    Raises:
        ValueError: with the missing, unexpected and misshapen tensors, in the module's order.
    """
    found, expected = _without_extra_state(found), _without_extra_state(expected)
    both = [name for name in expected if name in found]
    groups = {
        'other shape': [
            f'{name}: {shape_of(found[name])} in the file, {shape_of(expected[name])} expected'
            for name in both
            if shape_of(found[name]) != shape_of(expected[name])
        ],
        'missing': [f'{n} {shape_of(v)}' for n, v in expected.items() if n not in found],
        'unexpected': [f'{n} {shape_of(v)}' for n, v in found.items() if n not in expected],
    }
    if any(groups.values()):
        lines = [_line(title, entries) for title, entries in groups.items() if entries]
        end = f'\n{advice}' if advice else ''
        raise ValueError(f'{what}: the weights do not fit\n  ' + '\n  '.join(lines) + end)


def load_exactly(module: nn.Module, state: Mapping[str, Any], what: str) -> None:
    """Load a state dict that has the names and shapes of ``module``, or raise.

    Raises:
        ValueError: as :func:`check_state`; ``what`` starts the message.
    """
    check_state(state, module.state_dict(), what)
    module.load_state_dict(state)


def _without_extra_state(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.endswith('_extra_state')}


def shape_of(value: Any) -> tuple[int, ...] | str:
    """Shape of a tensor; the type's name of anything else."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _line(title: str, entries: list[str]) -> str:
    more = f'; and {len(entries) - SHOWN} more' if len(entries) > SHOWN else ''
    return f'{title} ({len(entries)}): ' + '; '.join(entries[:SHOWN]) + more
