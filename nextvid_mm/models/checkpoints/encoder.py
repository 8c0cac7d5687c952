"""Finding the encoder inside a checkpoint, and saying exactly what was found."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from nextvid_mm.layers import load_exactly
from nextvid_mm.registry import MODELS

# Where the encoders lie in our checkpoints, by the value of ``encoder_weights``.
PREFIXES = {'reference': 'reference.encoder.', 'encoder': 'backbone.'}
# Under which the metadata of an exported ``.safetensors`` file describe the encoder, as JSON.
EXPORT_KEY = 'nextvid_mm'
# Keys of an encoder's config that change neither its weights nor what they compute in evaluation.
FREE_KEYS = ('drop_path_rate', 'with_cp', 'output', 'init_cfg', 'img_size')


@dataclass(frozen=True)
class EncoderOrigin:
    """Which encoder a probe stands on.

    Attributes:
        path: checkpoint file, or None for an untrained encoder.
        weights: ``reference`` or ``encoder``, or None if untrained.
        sha256: hash of names, shapes and values of the encoder's weights.
        step: optimiser steps of the pretraining, None if the file does not say.
        backbone: the encoder's config.
    """

    path: str | None
    weights: str | None
    sha256: str
    step: int | None
    backbone: dict

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def describe(self) -> str:
        """One line for logs."""
        if self.path is None:
            return f'untrained, SHA-256 {self.sha256[:16]}'
        step = 'unknown step' if self.step is None else f'step {self.step}'
        return f'{self.weights} of {self.path} ({step}), SHA-256 {self.sha256[:16]}'

    def as_tensor(self) -> Tensor:
        """The bytes of the JSON, uint8: state dicts of several processes hold only tensors."""
        return torch.tensor(list(json.dumps(self.as_dict()).encode()), dtype=torch.uint8)

    @classmethod
    def from_tensor(cls, record: Tensor) -> EncoderOrigin:
        """Undo ``as_tensor``."""
        return cls(**json.loads(bytes(record.tolist())))


def load_encoder(
    backbone: nn.Module, config: dict, path: str | Path, weights: str = 'reference'
) -> EncoderOrigin:
    """Load an encoder's weights, all of them and no others.

    Args:
        backbone: the module to fill.
        config: the config ``backbone`` was built from.
        path: a pretraining checkpoint of ours, or any file with an encoder under one of the
            prefixes ``reference.encoder.`` and ``backbone.``.
        weights: ``reference`` for the EMA encoder, ``encoder`` for the trained one.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it holds no such encoder, or one of another configuration.
    """
    checkpoint = read_checkpoint(path)
    state = encoder_state(checkpoint, path, weights)
    stored = stored_backbone(checkpoint)
    if stored is not None:
        check_same_backbone(config, stored, path)
    load_exactly(backbone, state, f'the encoder in {path} is not model.backbone')
    return EncoderOrigin(
        path=str(path),
        weights=weights,
        sha256=hash_weights(backbone),
        step=checkpoint.get('meta', {}).get('iter'),
        backbone=plain_config(config),
    )


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU, without running code from it.

    Args:
        path: a checkpoint of ours, or an encoder exported to ``.safetensors``.

    Raises:
        FileNotFoundError: if the file is missing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f'model.encoder={str(path)!r}: no such checkpoint; give the path of a file or None for '
            'an untrained encoder'
        )
    if Path(path).suffix == '.safetensors':
        return _read_exported(path)
    checkpoint = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    return checkpoint if 'state_dict' in checkpoint else dict(state_dict=checkpoint)


def _read_exported(path: str | Path) -> dict[str, Any]:
    """An exported encoder in the form of a checkpoint; see ``tools/convert_checkpoint.py``."""
    with safe_open(path, framework='pt') as file:
        description = json.loads((file.metadata() or {}).get(EXPORT_KEY, '{}'))
        state = {f'backbone.{name}': file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    step = description.get('step')
    if 'backbone' in description:
        origin = EncoderOrigin(str(path), 'encoder', '', step, description['backbone'])
        state['_extra_state'] = origin.as_tensor()
    return dict(state_dict=state, meta=dict(iter=step))


def encoder_state(checkpoint: dict, path: str | Path, weights: str) -> dict[str, Tensor]:
    """The encoder's own state dict out of a checkpoint's.

    Raises:
        ValueError: if the checkpoint has no such encoder.
    """
    names = list(checkpoint['state_dict'])
    found = [key for key, prefix in PREFIXES.items() if any(n.startswith(prefix) for n in names)]
    if weights not in found:
        advice = (
            f'set model.encoder_weights={found[0]!r}' if found else 'give a pretraining checkpoint'
        )
        parts = sorted({name.split('.')[0] for name in names})
        raise ValueError(
            f'{path} holds no weights under {PREFIXES[weights]!r} (model.encoder_weights='
            f'{weights!r}); its parts are {parts}; {advice}'
        )
    prefix = PREFIXES[weights]
    return {
        name.removeprefix(prefix): value
        for name, value in checkpoint['state_dict'].items()
        if name.startswith(prefix)
    }


def stored_backbone(checkpoint: dict) -> dict | None:
    """The encoder's config as the checkpoint records it, or None if it records none."""
    record = checkpoint['state_dict'].get('_extra_state')
    if isinstance(record, Tensor):
        return EncoderOrigin.from_tensor(record).backbone
    model = stored_config(checkpoint, 'model')
    return model.get('backbone') if isinstance(model, dict) else None


def stored_config(checkpoint: dict, name: str) -> Any:
    """Value of a top-level config key as the checkpoint records it, or None if it does not.

    The config's text is read, never run.
    """
    text = checkpoint.get('meta', {}).get('cfg')
    return read_assignment(text, name) if isinstance(text, str) else None


def check_same_backbone(config: dict, stored: dict, path: str | Path) -> None:
    """Compare the probe's encoder config with the checkpoint's, defaults filled in.

    Raises:
        ValueError: if they differ in anything that matters; the message shows both.
    """
    ours, theirs = essential_config(config), essential_config(stored)
    if ours == theirs:
        return
    different = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    raise ValueError(
        f'model.backbone is not the encoder in {path}; they differ in {", ".join(different)}\n'
        f'  model.backbone: {ours}\n'
        f'  checkpoint:     {theirs}\n'
        'Leave model.backbone=None to take the configuration from the checkpoint.'
    )


def hash_weights(module: nn.Module) -> str:
    """SHA-256 over names, shapes, types and bytes of a module's state."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f'{name} {tuple(value.shape)} {value.dtype};'.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def essential_config(config: dict) -> dict[str, Any]:
    """An encoder's config with defaults, without what does not matter in evaluation."""
    settings = plain_config(config)
    kind = MODELS.get(settings.pop('type'))
    if kind is not None:
        parameters = inspect.signature(kind).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        settings = plain_config(defaults) | settings
    return {key: value for key, value in settings.items() if key not in FREE_KEYS}


def plain_config(value: Any) -> Any:
    """A config without MMEngine's types, tuples as lists: what checkpoints and JSON can hold."""
    if isinstance(value, dict):
        return {key: plain_config(entry) for key, entry in value.items() if key != '_scope_'}
    return [plain_config(entry) for entry in value] if isinstance(value, list | tuple) else value


def read_assignment(text: str, name: str) -> Any:
    """Value of ``name = ...`` in a config's text, without running the text; None if absent."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == name:
            return _literal(node.value)
    return None


def _literal(node: ast.expr) -> Any:
    """Literals, and the ``dict(...)`` calls MMEngine writes instead of braces."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        values = {key: _literal(v) for entry in node.args for key, v in _literal(entry).items()}
        return values | {str(k.arg): _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(entry) for entry in node.elts]
    return ast.literal_eval(node)
