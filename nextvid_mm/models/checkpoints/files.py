"""Reading files of weights, ours or published: the one place; nothing in a file is run."""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

# Files with the weights in a folder as published by diffusers and transformers.
FOLDER_FILES = ('diffusion_pytorch_model.safetensors', 'model.safetensors')


def read_file(path: str | Path, key: str = '', advice: str = '') -> dict[str, Any]:
    """Read weights, and what lies beside them, on the CPU.

    Args:
        path: a ``.safetensors`` file, a file of ``torch.save``, or a folder as published by
            diffusers or transformers.
        key: the config key that names the path, for messages.
        advice: what to do if nothing is there, for messages.

    Raises:
        FileNotFoundError: if it is missing, or a folder without weights.
        ValueError: if it is neither kind of file, holds no dictionary, or more than plain data.
    """
    file = _find(Path(path), key, advice)
    try:
        if file.suffix == '.safetensors':
            return load_file(file)
        # The training scripts of VideoMAE and timm store their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(
                file, map_location='cpu', weights_only=True, mmap=zipfile.is_zipfile(file)
            )
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f'{file} is no checkpoint of tensors and plain values ({reason}); if you trust it, '
            'save its state dict alone and use that'
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'{file} holds a {type(content).__name__}, expected a dictionary')
    return content


def read_metadata(path: str | Path, key: str) -> dict[str, Any]:
    """The JSON under ``key`` in the header of a ``.safetensors`` file; empty without one."""
    with safe_open(path, framework='pt') as file:
        return json.loads((file.metadata() or {}).get(key, '{}'))


def _find(path: Path, key: str, advice: str) -> Path:
    """The file with the weights."""
    candidates = [path / name for name in FOLDER_FILES] if path.is_dir() else [path]
    for file in candidates:
        if file.is_file():
            return file
    name = f'{key}={str(path)!r}' if key else str(path)
    detail = f' (no {" or ".join(FOLDER_FILES)} in it)' if path.is_dir() else ''
    raise FileNotFoundError(
        f'{name}: there is no such checkpoint{detail}' + (f'; {advice}' if advice else '')
    )
