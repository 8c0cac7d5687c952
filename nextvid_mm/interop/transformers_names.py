"""Names and settings of ``transformers``, turned into those that a model was published with.

``VideoMAEModel``, ``VideoMAEForPreTraining``, ``VideoMAEForVideoClassification``, ``VJEPA2Model``
and ``VJEPA2ForVideoClassification`` split queries, keys and values and call layers otherwise; what
they compute is the same. Their ``config.json`` says what no shape tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.models.checkpoints.config_data import json_object

_LAYER = r'^(?:videomae\.|vjepa2\.)?encoder\.layer\.(\d+)\.'
_RULES = [
    (r'^(?:videomae\.)?embeddings\.patch_embeddings\.projection\.', 'patch_embed.proj.'),
    (r'^(?:vjepa2\.)?encoder\.embeddings\.patch_embeddings\.proj\.', 'patch_embed.proj.'),
    (r'^videomae\.layernorm\.|^(?:vjepa2\.)?encoder\.layernorm\.|^layernorm\.', 'norm.'),
    (_LAYER + r'layernorm_before\.', r'blocks.\1.norm1.'),
    (_LAYER + r'layernorm_after\.', r'blocks.\1.norm2.'),
    (_LAYER + r'attention\.attention\.(q|v)_bias$', r'blocks.\1.attn.\2_bias'),
    (_LAYER + r'attention\.attention\.', r'blocks.\1.attn.'),
    (_LAYER + r'attention\.output\.dense\.', r'blocks.\1.attn.proj.'),
    (_LAYER + r'attention\.', r'blocks.\1.attn.'),
    (_LAYER + r'intermediate\.dense\.', r'blocks.\1.mlp.fc1.'),
    (_LAYER + r'output\.dense\.', r'blocks.\1.mlp.fc2.'),
    (_LAYER, r'blocks.\1.'),
]
_PARTS = ('query', 'key', 'value')


def is_transformers(state: Mapping[str, Any]) -> bool:
    """Whether names are those of ``transformers``."""
    return any(re.match(_LAYER, name) for name in state)


def original_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names they were published with: ``blocks.N.attn.qkv`` and the like.

    Queries, keys and values become one matrix and one bias, zeros where a part has none. What is
    no part of the encoder keeps its name.

    Raises:
        ValueError: if one of the three is missing in a layer.
    """
    renamed = {_rename(name): value for name, value in state.items()}
    prefixes = {m[1] for name in renamed if (m := re.match(r'(blocks\.\d+\.attn\.)query\.w', name))}
    for prefix in sorted(prefixes):
        weights = [renamed.pop(f'{prefix}{part}.weight', None) for part in _PARTS]
        if missing := [p for p, weight in zip(_PARTS, weights, strict=True) if weight is None]:
            raise ValueError(f'{prefix}{missing[0]}.weight is missing beside {prefix}query.weight')
        biases = [renamed.pop(f'{prefix}{part}.bias', None) for part in _PARTS]
        renamed[f'{prefix}qkv.weight'] = torch.cat(weights)
        if any(bias is not None for bias in biases):
            zeros = torch.zeros(len(weights[0]), dtype=weights[0].dtype)
            renamed[f'{prefix}qkv.bias'] = torch.cat([zeros if b is None else b for b in biases])
    return renamed


def _rename(name: str) -> str:
    for pattern, replacement in _RULES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name)
    return name


def settings_beside(path: str | Path) -> dict[str, Any]:
    """The ``config.json`` in a folder of weights, or beside a file of them; empty without one.

    Raises:
        ValueError: if it is no JSON object.
    """
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    file = folder / 'config.json'
    return json_object(file.read_bytes(), str(file)) if file.is_file() else {}


def joint_vit_settings(settings: Mapping[str, Any], model_type: str, path: Any) -> dict[str, Any]:
    """What ``config.json`` of transformers says of a ``JointViT``: heads, size, frames, norms.

    Args:
        settings: from ``settings_beside``; nothing is said by another model's.
        model_type: ``videomae`` or ``vjepa2``.
        path: the weights, for messages.

    Returns:
        Any of ``num_heads``, ``pretrain_size``, ``pretrain_frames``, ``norm_eps``.

    Raises:
        ValueError: for an activation that ``JointViT`` does not have, or another model's settings.
    """
    found = settings.get('model_type')
    if found is None:
        return {}
    if found != model_type:
        raise ValueError(f'{path}: config.json there is of a {found!r}, expected {model_type!r}')
    if (act := settings.get('hidden_act', 'gelu')) != 'gelu':
        raise ValueError(f"{path}: hidden_act={act!r} in config.json; only 'gelu' can be converted")
    # transformers writes only what differs from a class's own defaults in some of its releases.
    defaults: dict[str, dict[str, Any]] = dict(
        videomae=dict(image_size=224, num_frames=16, num_attention_heads=12, layer_norm_eps=1e-12),
        vjepa2=dict(crop_size=256, frames_per_clip=64, num_attention_heads=16, layer_norm_eps=1e-6),
    )
    known = defaults[model_type] | dict(settings)
    size = known['image_size' if model_type == 'videomae' else 'crop_size']
    return dict(
        num_heads=known['num_attention_heads'],
        pretrain_size=size if isinstance(size, int) else size[0],
        pretrain_frames=known['num_frames' if model_type == 'videomae' else 'frames_per_clip'],
        norm_eps=known['layer_norm_eps'],
    )
