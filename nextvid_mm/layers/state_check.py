"""Says how a state dict differs from the one a module needs: all differences, the first by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

SHOWN = 5


def check_state(found: Mapping[str, Any], expected: Mapping[str, Any], what: str) -> None:
    """Raise unless two state dicts have the same names and shapes.

    Args:
        found: the state dict of a file.
        expected: the state dict of the module it is to fill (shapes only: the meta device will do).
        what: start of the message, such as the file's name.

    Raises:
        ValueError: with the missing, unexpected and misshapen tensors, in the module's order.
    """
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
        raise ValueError(f'{what}: the weights do not fit\n  ' + '\n  '.join(lines))


def shape_of(value: Any) -> tuple[int, ...] | str:
    """Shape of a tensor; the type's name of anything else."""
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _line(title: str, entries: list[str]) -> str:
    more = f'; and {len(entries) - SHOWN} more' if len(entries) > SHOWN else ''
    return f'{title} ({len(entries)}): ' + '; '.join(entries[:SHOWN]) + more
