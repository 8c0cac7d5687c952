"""Reading published weights of target networks, exactly or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

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


def load_exactly(module: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    """Load a state dict that has the module's names and shapes.

    Raises:
        ValueError: if names are missing or unexpected, or a shape differs; names the first.
    """
    own = module.state_dict()
    # Shapes first: a network of another width may have other names too, and this says why.
    for name, value in own.items():
        if name in state and value.shape != state[name].shape:
            raise ValueError(
                f'{path} is a network of another size: {name} has shape '
                f'{tuple(state[name].shape)}, expected {tuple(value.shape)}'
            )
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f'{path} does not fit this network: missing {missing[:3]} ({len(missing)} in all), '
            f'unexpected {extra[:3]} ({len(extra)} in all)'
        )
    module.load_state_dict(state)


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
