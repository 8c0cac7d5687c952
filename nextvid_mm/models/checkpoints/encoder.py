"""Finding the encoder inside a checkpoint, and saying exactly what was found."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.layers import load_exactly, resolve_arch
from nextvid_mm.models.hub import EXPORT_KEY
from nextvid_mm.registry import MODELS, require_registered

from .config_data import parse_config, plain_config
from .files import INDEX, find_file, read_file, read_metadata

# Where the encoders lie in our checkpoints, by the value of ``encoder_weights``.
PREFIXES = {'reference': 'reference.encoder.', 'encoder': 'backbone.'}
# Keys of an encoder's config that change neither its weights nor what they compute in evaluation.
FREE_KEYS = ('drop_path_rate', 'with_cp', 'output', 'tuned', 'init_cfg', 'img_size')
# Under which ``read_checkpoint`` says where a checkpoint is from, for messages.
_SOURCE = 'read_from'


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
    def from_tensor(cls, record: Tensor, source: str = 'the checkpoint') -> EncoderOrigin:
        """Undo ``as_tensor``.

        Raises:
            ValueError: if it is no such record; ``source`` begins the message.
        """
        try:
            origin = cls(**json.loads(bytes(record.tolist())))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f'{source}: the record of its encoder is damaged ({error})') from error
        if not isinstance(origin.backbone, dict):
            raise ValueError(f'{source}: the record of its encoder is damaged (no backbone)')
        return origin


def open_encoder(path: str | Path, weights: str | None = None) -> tuple[Any, EncoderOrigin]:
    """Build the encoder that a checkpoint records, with its weights.

    Args:
        path: see ``load_encoder``.
        weights: ``reference`` or ``encoder``; None takes the reference where there is one.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it does not record an encoder, or has no such weights.
    """
    checkpoint = read_checkpoint(path)
    config = stored_backbone(checkpoint)
    if config is None:
        raise ValueError(
            f'{path} does not say what its encoder is: convert published checkpoints with '
            'tools/convert_checkpoint.py first'
        )
    if weights not in (None, *PREFIXES):
        raise ValueError(f'weights={weights!r} is not one of {list(PREFIXES)}')
    require_room(config, checkpoint, path)
    encoder = MODELS.build(dict(config))
    weights = weights or next(iter(weights_there(checkpoint)), 'reference')
    return encoder, load_encoder(encoder, config, path, weights)


def describe_encoder(encoder: nn.Module, config: dict | None = None) -> EncoderOrigin:
    """The record of an encoder that was not read from a checkpoint of ours.

    Its ``source``, if it has one, stands for the path: an adapted encoder brings its weights.
    """
    source = getattr(encoder, 'source', None)
    weights = None if source is None else 'encoder'
    config = config or dict(type=type(encoder).__name__)
    return EncoderOrigin(source, weights, hash_weights(encoder), None, config)


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

    The file that was read last is not read again while it stays as it is.

    Args:
        path: a checkpoint of ours, or an encoder exported to ``.safetensors``.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: as ``read_file``.
    """
    file = find_file(path)
    alone = file.is_file() and not file.name.endswith(INDEX)
    parts = [file] if alone else sorted((file if file.is_dir() else file.parent).iterdir())
    stats = [part.stat() for part in parts if part.is_file()]
    state = tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)
    return {**_read(str(path), state), _SOURCE: str(path)}


@lru_cache(maxsize=1)
def _read(path: str, state: tuple) -> dict[str, Any]:
    """``state`` tells files from others that had, or get, the same names."""
    content = read_file(path)
    if find_file(path).suffix == '.safetensors':
        content = _as_checkpoint(content, path)
    elif 'state_dict' not in content:
        content = dict(state_dict=content)
    for part in ('state_dict', 'meta'):
        if not isinstance(content.get(part, {}), dict):
            raise ValueError(f'{path} is no checkpoint: its {part} is no dictionary')
    if strange := [name for name in content['state_dict'] if not isinstance(name, str)]:
        raise ValueError(f'{path} is no checkpoint: its state_dict has the key {strange[0]!r}')
    return content


def _as_checkpoint(content: dict[str, Tensor], path: str) -> dict[str, Any]:
    """An exported encoder, or a whole model, in the form of a checkpoint."""
    description = read_metadata(path, EXPORT_KEY)
    if 'model' in description:
        keys = ('model', 'train_cfg', 'train_dataloader')
        text = ''.join(f'{k} = {description[k]!r}\n' for k in keys if k in description)
        return dict(state_dict=content, meta=dict(cfg=text, iter=description.get('step')))
    state = {f'backbone.{name}': value for name, value in content.items()}
    step = description.get('step')
    if 'backbone' in description:
        origin = EncoderOrigin(path, 'encoder', '', step, description['backbone'])
        state['_extra_state'] = origin.as_tensor()
    return dict(state_dict=state, meta=dict(iter=step))


def encoder_state(checkpoint: dict, path: str | Path, weights: str) -> dict[str, Tensor]:
    """The encoder's own state dict out of a checkpoint's.

    Raises:
        ValueError: if the checkpoint has no such encoder.
    """
    found = weights_there(checkpoint)
    if weights not in found:
        advice = (
            f'set model.encoder_weights={found[0]!r}' if found else 'give a pretraining checkpoint'
        )
        parts = sorted({name.split('.')[0] for name in checkpoint['state_dict']})
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


def weights_there(checkpoint: dict) -> list[str]:
    """Which of our encoders a checkpoint holds, the reference first."""
    names = list(checkpoint['state_dict'])
    return [key for key, prefix in PREFIXES.items() if any(n.startswith(prefix) for n in names)]


def stored_backbone(checkpoint: dict) -> dict | None:
    """The encoder's config as the checkpoint records it, or None if it records none.

    Raises:
        ValueError: if it names anything but registered components.
    """
    record = checkpoint['state_dict'].get('_extra_state')
    source = checkpoint.get(_SOURCE, 'the checkpoint')
    if isinstance(record, Tensor):
        backbone: dict | None = EncoderOrigin.from_tensor(record, source).backbone
    else:
        model = stored_config(checkpoint, 'model')
        backbone = plain_config(model.get('backbone')) if isinstance(model, dict) else None
    require_registered(backbone, source)
    # Where its training started is of no use to who reads its weights, and the file may be gone.
    return backbone and {key: value for key, value in backbone.items() if key != 'init_cfg'}


def stored_config(checkpoint: dict, name: str) -> Any:
    """Value of a top-level config key as the checkpoint records it, or None if it does not.

    The config's text is read, never run; whoever builds it asks ``require_registered`` first.

    Raises:
        ValueError: if the value is code.
    """
    text = checkpoint.get('meta', {}).get('cfg')
    source = checkpoint.get(_SOURCE, 'the checkpoint')
    return parse_config(text, source, [name]).get(name) if isinstance(text, str) else None


def require_room(config: dict, checkpoint: dict, path: str | Path, elsewhere: str = '\0') -> None:
    """Raise unless a checkpoint holds as many values as the module that its config describes.

    Nothing is allocated: a small file must not describe a large model.

    Args:
        config: of a part of the model, or of all of it.
        checkpoint: from ``read_checkpoint``.
        path: its name.
        elsewhere: prefix of weights that may be in another file.

    Raises:
        ValueError: if it does not, or the config describes nothing.
    """
    values = [v for v in checkpoint['state_dict'].values() if isinstance(v, Tensor)]
    deepest = max(_depths(config), default=0)
    if deepest > max(len(values), 1000):
        raise ValueError(f'{path} records a depth of {deepest}, but holds {len(values)} tensors')
    try:
        with torch.device('meta'):
            described = MODELS.build(dict(config)).state_dict()
    except OSError:
        raise
    except Exception as error:  # whatever a made-up config leads to
        raise ValueError(f'{path}: the model it records cannot be built ({error})') from error
    here = [
        v for n, v in described.items() if isinstance(v, Tensor) and not n.startswith(elsewhere)
    ]
    wanted = sum(value.numel() for value in here)
    held = sum(value.numel() for value in values)
    if wanted > 1.01 * held + 2**20:
        raise ValueError(
            f'{path} is damaged: it records a model of {wanted:,} values, but holds {held:,}'
        )


def _depths(config: Any) -> Iterator[int]:
    """Numbers of layers anywhere in a config."""
    if isinstance(config, dict):
        if isinstance(config.get('depth'), int):
            yield config['depth']
        config = list(config.values())
    if isinstance(config, list | tuple):
        for entry in config:
            yield from _depths(entry)


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
    if isinstance(settings.get('arch'), str):
        settings['arch'] = resolve_arch(settings['arch'])
    return {key: value for key, value in settings.items() if key not in FREE_KEYS}
