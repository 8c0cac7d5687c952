"""A pretrained model ready to generate, from nothing but its checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nextvid_mm.layers import TokenGrid, load_exactly, with_updates
from nextvid_mm.registry import MODELS, SCOPE, require_registered

from .config_data import plain_config
from .encoder import open_encoder, read_checkpoint, require_room, stored_config

if TYPE_CHECKING:
    from nextvid_mm.models.algorithms import NextVid

KIND = 'NextVid'
DECODER = 'head.'
TARGETS = 'target_generator.'
DEFAULT_FPS = 4.0  # the paper's


@dataclass(frozen=True)
class Generator:
    """A model with what its training config says of clips.

    Attributes:
        model: in evaluation mode.
        path: the checkpoint.
        step: optimiser steps of pretraining, None if the file does not say.
        num_frames: video frames of the longest training clips, None if the file does not say.
        fps: frames per second of training clips, the paper's 4 if the file does not say.
        masking: config of the training's ``FrameIsolatedMasking``, likewise.
    """

    model: NextVid
    path: Path
    step: int | None
    num_frames: int | None
    fps: float
    masking: dict | None


def load_generator(path: str | Path, device: str | torch.device = 'cpu') -> Generator:
    """Build the model a checkpoint records, with all its weights.

    The target autoencoder, if its weights are not in the file, is read from where the config says.

    Args:
        path: a pretraining checkpoint of ours.
        device: where the model goes.

    Raises:
        FileNotFoundError: if the file, or that of the target autoencoder, is missing.
        ValueError: if the file is damaged, has no decoder (an exported encoder), does not record
            its configuration, or holds targets that cannot be turned into pixels.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    _check_decoder(checkpoint, path)
    config = stored_config(checkpoint, 'model')
    if config is None:
        raise ValueError(f'{path} does not record the configuration of its model (meta.cfg)')
    kind = str(config.get('type')).rpartition('.')[2]
    if kind != KIND:
        raise ValueError(f'{path} holds a {kind}; only {KIND} generates next frames')
    require_registered(config, str(path))
    settings = dict(config, compile=False, _scope_=SCOPE)
    require_room(settings, checkpoint, path, elsewhere=TARGETS)
    model = MODELS.build(settings)
    _load_strictly(model, checkpoint['state_dict'], path)
    model = model.to(device).eval()
    _check_pixels(model)
    said = {key: stored_config(checkpoint, key) for key in ('train_cfg', 'train_dataloader')}
    stages, data = (said['train_cfg'] or {}).get('stages') or [], said['train_dataloader']
    # For save_pretrained, so that a folder says as much as the checkpoint.
    model.trained_with = {k: v for k, v in said.items() if v is not None}
    return Generator(
        model=model,
        path=path,
        step=checkpoint.get('meta', {}).get('iter'),
        num_frames=max((stage['num_frames'] for stage in stages), default=None),
        fps=_fps(data),
        masking=find_component(data, 'FrameIsolatedMasking'),
    )


def open_folder(folder: str | Path, settings: dict[str, Any]) -> Any:
    """The encoder or whole model of a folder of ``save_pretrained``, in evaluation mode.

    Args:
        folder: the folder.
        settings: arguments of an encoder that replace those it was saved with.

    Raises:
        ValueError: if nothing of ours was saved there, or ``settings`` are given to a whole model.
    """
    stored = stored_config(read_checkpoint(folder), 'model')
    if stored is not None:
        if other := [k for k, value in settings.items() if stored.get(k) != plain_config(value)]:
            raise ValueError(
                f'{folder} holds a whole model, which stays as it is: leave out {other}'
            )
        return load_generator(folder).model
    encoder, origin = open_encoder(folder)
    if any(origin.backbone.get(key) != value for key, value in settings.items()):
        other = MODELS.build(origin.backbone | settings)
        load_exactly(other, with_updates(encoder.state_dict(), other), f'{folder} with {settings}')
        encoder = other
    return encoder.eval()


def training_fps(path: str | Path) -> float:
    """Frames per second of a checkpoint's training clips, the paper's 4 if it does not say."""
    return _fps(stored_config(read_checkpoint(path), 'train_dataloader'))


def _fps(data: Any) -> float:
    return (find_component(data, 'SampleClipByTime') or {}).get('fps') or DEFAULT_FPS


def find_component(config: Any, name: str) -> dict | None:
    """The first dict in a nested config whose ``type`` is ``name``, with or without a scope."""
    entries: Iterable[Any] = ()
    if isinstance(config, dict):
        if str(config.get('type', '')).rpartition('.')[2] == name:
            return config
        entries = config.values()
    elif isinstance(config, list | tuple):
        entries = config
    found = (find_component(entry, name) for entry in entries)
    return next((component for component in found if component is not None), None)


def _check_decoder(checkpoint: dict, path: Path) -> None:
    names = list(checkpoint['state_dict'])
    if not any(name.startswith(DECODER) for name in names):
        parts = sorted({name.split('.')[0] for name in names})
        raise ValueError(
            f'{path} holds no decoder ({DECODER}*), its parts are {parts[:8]}: an encoder alone '
            'cannot generate; give the pretraining checkpoint (iter_*.pth of its work directory)'
        )


def _load_strictly(model: NextVid, state: dict[str, Any], path: Path) -> None:
    missing = model.state_dict().keys() - state.keys()
    if missing and all(name.startswith(TARGETS) for name in missing):
        model.target_generator.init_weights()
        own = model.state_dict()
        state = state | {name: own[name] for name in missing}
    load_exactly(model, state, f'{path} does not hold the model it records')


def _check_pixels(model: NextVid) -> None:
    """Raise unless targets can be shown; those that cannot say why themselves."""
    targets = model.target_generator
    side = model.backbone.img_size // model.backbone.patch_size
    grid = TokenGrid(1, side, side)
    device = next(model.parameters()).device
    targets.to_pixels(torch.zeros(1, 1, grid.patches, targets.channels, device=device), grid)
