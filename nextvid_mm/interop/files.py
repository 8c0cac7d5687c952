"""Reading other projects' checkpoint files."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a published ``.safetensors`` or ``torch.save`` file on the CPU; runs no code from it.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is neither kind of file, holds no dictionary, or more than plain data.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'{path}: there is no such checkpoint')
    if Path(path).suffix == '.safetensors':
        return load_file(path)
    try:
        # The training scripts of VideoMAE and timm store their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f'{path} is no checkpoint of tensors and plain values ({reason}); if you trust it, '
            'save its state dict alone and convert that'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected a dictionary')
    return content


def unwrap(content: dict[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any]:
    """The state dict under the first of ``keys`` that is there; ``content`` itself without one."""
    for key in keys:
        if isinstance(content.get(key), Mapping):
            return content[key]
    return content
