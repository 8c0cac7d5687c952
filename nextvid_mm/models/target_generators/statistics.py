"""Files with the mean and standard deviation of every latent channel.

The layout is LightningDiT's ``latents_stats.pt``: ``mean`` and ``std`` of shape (1, C, 1, 1). The
same two names are read from and written to ``.safetensors`` and ``.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nextvid_mm.files import replace_when_complete

SUFFIXES = ('.pt', '.pth', '.safetensors', '.json')


def read_statistics(path: str | Path, channels: int) -> tuple[Tensor, Tensor]:
    """Read mean and standard deviation, each ``(channels,)`` in float32.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if it is of another kind, lacks a value or has another number of channels.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'model.target_generator.statistics={str(path)!r} is missing: '
            'tools/compute_latent_stats.py makes such a file from a config'
        )
    stored = _load(path)
    absent = [name for name in ('mean', 'std') if name not in stored]
    if absent:
        raise ValueError(f'{path} has no {absent}, only {sorted(stored)}: need mean and std')
    mean, std = (
        torch.as_tensor(stored[name], dtype=torch.float32).flatten() for name in ('mean', 'std')
    )
    for name, value in (('mean', mean), ('std', std)):
        if value.numel() != channels:
            raise ValueError(
                f'{path}: {name} has {value.numel()} channels, the network has {channels}'
            )
    if not bool((std > 0).all()):
        raise ValueError(f'{path}: std must be positive, found {float(std.min())}')
    return mean, std


def write_statistics(path: str | Path, mean: Tensor, std: Tensor) -> None:
    """Write ``(C,)`` statistics in the kind of file that the name ends in."""
    path = Path(path)
    check_suffix(path)
    stored = {
        name: value.float().reshape(1, -1, 1, 1).contiguous()
        for name, value in (('mean', mean), ('std', std))
    }
    with replace_when_complete(path) as temporary:
        if path.suffix == '.json':
            values = {name: value.flatten().tolist() for name, value in stored.items()}
            temporary.write_text(json.dumps(values, indent=1) + '\n', encoding='utf-8')
        elif path.suffix == '.safetensors':
            save_file(stored, temporary)
        else:
            torch.save(stored, temporary)


def check_suffix(path: str | Path) -> None:
    """Raise unless statistics can be kept in a file of this name."""
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(f'{path} must end in one of {", ".join(SUFFIXES)}')


def _load(path: Path) -> dict[str, Any]:
    check_suffix(path)
    if path.suffix == '.json':
        return json.loads(path.read_text(encoding='utf-8'))
    if path.suffix == '.safetensors':
        return load_file(path)
    return torch.load(path, map_location='cpu', weights_only=True)
