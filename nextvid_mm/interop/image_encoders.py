"""Image ViTs of timm, applied per frame: in timm's own layout, as its releases have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from nextvid_mm.models.checkpoints import read_file

from .converted import Converted, split_off, unwrap

CLASSIFIER = ('head.', 'head_dist.')


def from_timm(path: str | Path, model: str | None = None) -> Converted:
    """Convert weights in timm's layout, as its releases have them.

    Args:
        path: ``.safetensors`` or ``torch.save`` file.
        model: timm's name of the model, with the tag of the weights if there are several
            (``vit_base_patch16_clip_224.openai``): the tag decides the normalisation of colours.

    Raises:
        ValueError: if the model is not given or unknown.
    """
    if model is None:
        raise ValueError(
            "--from timm needs --model, timm's name of the weights, such as "
            'vit_base_patch16_clip_224.openai'
        )
    if not timm.is_model(model):
        raise ValueError(f'--model {model} is unknown to timm; timm.list_models("vit*") has names')
    stored: Any = unwrap(read_file(path), ('state_dict', 'model'))
    kept, dropped = split_off(stored, CLASSIFIER)
    state: dict[str, Tensor] = {f'vit.{name}': value for name, value in kept.items()}
    released = timm.get_pretrained_cfg(model)
    backbone = dict(
        type='PerFrameViT',
        model=timm.models.split_model_name_tag(model)[0],
        mean=list(released.mean),
        std=list(released.std),
    )
    return Converted(backbone, state, dropped, f'timm checkpoint {path}, {model}')
