"""Reading published weights of target networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

HELP_PAGE = 'docs/targets.md'
# Files with the weights in a folder as published by diffusers and transformers.
FOLDER_FILES = ('diffusion_pytorch_model.safetensors', 'model.safetensors')


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict on the CPU, without running code from the file.

    Args:
        path: a folder as published by diffusers or transformers, a ``.safetensors`` file, or a
            file of ``torch.save``; a state dict under ``state_dict`` is taken out.

    Raises:
        FileNotFoundError: if there is no such file, or the folder has no weights.
    """
    file = _find(Path(path))
    if file.suffix == '.safetensors':
        return load_file(file)
    stored = torch.load(file, map_location='cpu', weights_only=True)
    return stored.get('state_dict', stored)


def read_architecture(path: str | Path) -> dict[str, Any]:
    """Read ``config.json`` of a published folder.

    Raises:
        FileNotFoundError: if it does not exist.
    """
    file = Path(path, 'config.json')
    if not file.is_file():
        raise FileNotFoundError(
            f'model.target_generator.checkpoint={str(path)!r} is no folder with a config.json: '
            f'give one, or describe the network under `architecture`; {HELP_PAGE} says how'
        )
    return json.loads(file.read_text(encoding='utf-8'))


def _find(path: Path) -> Path:
    """The file with the weights."""
    candidates = [path / name for name in FOLDER_FILES] if path.is_dir() else [path]
    for file in candidates:
        if file.is_file():
            return file
    detail = f' (no {" or ".join(FOLDER_FILES)} in it)' if path.is_dir() else ''
    raise FileNotFoundError(
        f'model.target_generator.checkpoint={str(path)!r} is missing{detail}: {HELP_PAGE} says '
        'where weights come from and belong'
    )
