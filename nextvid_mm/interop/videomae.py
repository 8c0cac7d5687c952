"""Encoders of VideoMAE and VideoMAEv2 (arXiv 2203.12602, 2303.16727).

Key layouts, as published. Original, pretraining: ``model`` wrapper, ``encoder.blocks.N...``,
``encoder.norm``, beside ``decoder``, ``encoder_to_decoder`` and ``mask_token``. Original,
fine-tuned or distilled: ``module`` or ``model`` wrapper, ``blocks.N...``, ``fc_norm``, ``head``;
OpenGVLab's folders have them under ``model.``. MMAction2: ``state_dict`` wrapper,
``backbone.blocks.N...``, ``backbone.fc_norm``, ``cls_head``. In all of these queries and values
have a bias (``q_bias``, ``v_bias``) and keys have none. transformers: see ``transformers_names``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.models.backbones.joint_vit import sinusoid_table
from nextvid_mm.models.checkpoints import find_weights, read_file

from .converted import (
    Converted,
    flatten_patch_embed,
    infer_arch,
    require,
    split_off,
)
from .transformers_names import (
    is_transformers,
    joint_vit_settings,
    original_names,
    settings_beside,
)

VIDEOMAE_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
# Pixels per side and video frames of every published model.
SIZE, FRAMES = 224, 16
OTHER_PARTS = (
    'decoder.', 'encoder_to_decoder.', 'mask_token', 'position_embeddings',
    'head.', 'cls_head.', 'classifier.', 'fc_norm.',
)  # fmt: skip
_MMACTION = [
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.mlp\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.layers\.1\.', '.mlp.fc2.'),
]


def from_videomae(path: str | Path, heads: int | None = None, key: str | None = None) -> Converted:
    """Convert a checkpoint of VideoMAE or VideoMAEv2, in any of the formats.

    The encoder of a pretraining checkpoint ends in a norm. A fine-tuned one does not: its tokens
    are averaged first, and the norm behind that belongs to its head.

    Args:
        path: the file, or a folder as transformers writes it.
        heads: attention heads, for widths that were never published; None asks a ``config.json``
            of transformers beside the weights first.
        key: which state dict of the file, see ``find_weights``.

    Raises:
        ValueError: if the file is of another format.
    """
    source = f'VideoMAE checkpoint {path}'
    found = find_weights(read_file(path), source, key)
    content = found.state
    said: dict[str, Any] = {}
    if is_transformers(content):
        said = joint_vit_settings(settings_beside(path), 'videomae', path)
        content = original_names(content)
    state = {_plain(name): value for name, value in content.items()}
    state, dropped = split_off(state, OTHER_PARTS)
    require(state, 'patch_embed.proj.weight', source)
    require(state, 'blocks.0.attn.qkv.weight', source)
    told = said.pop('num_heads', None)
    arch = infer_arch(state, VIDEOMAE_HEADS, source, told if heads is None else heads)
    state, patch_size, tubelet_size = flatten_patch_embed(_fold_scales(_join_biases(state)))
    backbone: dict[str, Any] = dict(
        type='JointViT',
        arch=arch,
        positions='sinusoid',
        pretrain_size=SIZE // patch_size * patch_size,
        pretrain_frames=FRAMES,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
        final_norm='norm.weight' in state,
    )
    backbone.update(said)
    if 'pos_embed' in state and _is_sinusoid(state['pos_embed']):
        dropped += ('pos_embed',)
        del state['pos_embed']
    elif 'pos_embed' in state:
        backbone['positions'] = 'learned'
    return Converted(backbone, state, dropped, source, found.note)


def _plain(name: str) -> str:
    """Name of a tensor without the prefixes of wrappers, in the original's spelling."""
    for prefix in ('module.', 'model.', 'backbone.', 'encoder.'):
        name = name.removeprefix(prefix)
    for pattern, replacement in _MMACTION:
        name = re.sub(pattern, replacement, name)
    return name


def _join_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write the biases of queries and values, with zeros for the keys, as one vector.

    A network trained without any of them (``qkv_bias=False``) has zeros for all three.
    """
    joined = {n: v for n, v in state.items() if not n.endswith(('.q_bias', '.v_bias'))}
    for name, q in state.items():
        block, found, _ = name.rpartition('.q_bias')
        if found and f'{block}.v_bias' in state:
            v = state[f'{block}.v_bias']
            joined[f'{block}.qkv.bias'] = torch.cat([q, torch.zeros_like(q), v])
    if not any(n.endswith(('.qkv.bias', '.q_bias', '.v_bias')) for n in (*state, *joined)):
        for name, weight in list(joined.items()):
            if name.endswith('.attn.qkv.weight'):
                zeros = torch.zeros(len(weight), dtype=weight.dtype)
                joined[name.removesuffix('weight') + 'bias'] = zeros
    return joined


def _fold_scales(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Multiply the scales of branches (``init_values``) into the layers before them."""
    folded = {n: v for n, v in state.items() if not re.search(r'\.gamma_[12]$', n)}
    for name, scale in state.items():
        if match := re.fullmatch(r'(blocks\.\d+)\.gamma_([12])', name):
            layer = f'{match[1]}.{"attn.proj" if match[2] == "1" else "mlp.fc2"}'
            for kind, factor in (('weight', scale[:, None]), ('bias', scale)):
                if f'{layer}.{kind}' in folded:
                    # In half precision, scales of 1e-5 would round most products to zero.
                    folded[f'{layer}.{kind}'] = folded[f'{layer}.{kind}'].float() * factor.float()
    return folded


def _is_sinusoid(table: Tensor) -> bool:
    expected = sinusoid_table(table.shape[1], table.shape[2])
    return torch.allclose(table.float(), expected, atol=1e-5)
