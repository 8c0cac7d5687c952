"""Encoders of V-JEPA (arXiv 2404.08471), V-JEPA 2 (arXiv 2506.09985) and V-JEPA 2.1.

Key layouts, as published: the EMA encoder under ``target_encoder`` (``ema_encoder`` in the
distilled 2.1 models) and the trained one under ``encoder``, each name with the prefix
``module.backbone.``; beside them ``predictor`` and what training left. transformers: see
``transformers_names``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.checks import check_count
from nextvid_mm.models.checkpoints import bare, find_weights, read_file

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
from .vjepa_probes import read_probes

VJEPA_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
ENCODERS = ('target_encoder', 'ema_encoder', 'encoder')
# V-JEPA 2.1: how images enter, and norms of earlier layers that only its losses read.
IMAGE_PARTS = ('patch_embed_img.', 'img_mod_embed')
# V-JEPA 2.1 stretches rows and columns over the grid of 256 pixels, whatever the image size.
SPAN_PIXELS = 256
V1_FRAMES = 16
SIZE = 256
# What transformers keeps beside the encoder.
OTHER_PARTS = ('predictor.', 'vjepa2.predictor.', 'pooler.', 'classifier.')


def from_vjepa2(
    path: str | Path,
    heads: int | None = None,
    encoder: str | None = None,
    size: int | None = None,
    probe: str | Path | None = None,
) -> Converted:
    """Convert a checkpoint of V-JEPA 2 or 2.1.

    The released V-JEPA 2 rotates the two channels of a pair by different angles; its weights need
    that (``tiled_rope``). V-JEPA 2.1 rotates properly.

    Args:
        path: the file.
        heads: attention heads, for widths that were never published.
        encoder: one of ``ENCODERS``; None takes the first that is there.
        size: pixels per side the model was released for; None takes that of a ``config.json`` of
            transformers, or 256.
        probe: file with attentive probes trained on this encoder.

    Raises:
        ValueError: if a file is of another format, has no such encoder, or probes of another width.
    """
    state, source, said = _read_vjepa(path, encoder)
    # Rotary models still carry the table of absolute positions; no layer reads it.
    state, dropped = split_off(state, ('pos_embed', *IMAGE_PARTS, *OTHER_PARTS))
    state, positions, span, more = _settle_version(state)
    told = said.get('num_heads')
    arch = infer_arch(state, VJEPA_HEADS, source, told if heads is None else heads)
    state, patch_size, tubelet_size = flatten_patch_embed(state)
    side = said.get('pretrain_size', SIZE) if size is None else size
    check_count(side, '--size')
    backbone = _vjepa_config(arch, positions, side, 64, patch_size, tubelet_size)
    if 'norm_eps' in said:
        backbone['norm_eps'] = said['norm_eps']
    if span:
        backbone['rope_span'] = SPAN_PIXELS // patch_size
    state = _regroup_pairs(state, arch['embed_dims'], arch['num_heads'])
    probes = None if probe is None else read_probes(probe, arch['embed_dims'])
    return Converted(backbone, state, dropped + more, source, probes=probes)


def from_vjepa(path: str | Path, heads: int | None = None, encoder: str | None = None) -> Converted:
    """Convert a checkpoint of the first V-JEPA, whose positions are a table; arguments as above."""
    state, source, _ = _read_vjepa(path, encoder)
    tokens = require(state, 'pos_embed', source).shape[1]
    arch = infer_arch(state, VJEPA_HEADS, source, heads)
    state, patch_size, tubelet_size = flatten_patch_embed(state)
    size = round((tokens * tubelet_size / V1_FRAMES) ** 0.5) * patch_size
    backbone = _vjepa_config(arch, 'learned', size, V1_FRAMES, patch_size, tubelet_size)
    return Converted(backbone, state, (), source)


def _read_vjepa(
    path: str | Path, encoder: str | None
) -> tuple[dict[str, Tensor], str, dict[str, Any]]:
    """Weights of the chosen encoder without prefixes, the start of messages, and what is said.

    The last is of a ``config.json`` of transformers, see ``joint_vit_settings``.
    """
    content = read_file(path)
    if encoder is None and not any(isinstance(content.get(key), Mapping) for key in ENCODERS):
        source = f'V-JEPA checkpoint {path}'
        state = find_weights(content, source).state
        if is_transformers(state):
            said = joint_vit_settings(settings_beside(path), 'vjepa2', path)
            return _checked(original_names(state), source), source, said
    there = [key for key in ENCODERS if isinstance(content.get(key), Mapping)]
    if not there or encoder not in (None, *there):
        raise ValueError(
            f'{path} has no encoder {encoder or "under " + ", ".join(ENCODERS)}; '
            f'it holds {", ".join(list(content)[:8])}'
        )
    key = encoder or there[0]
    source = f'V-JEPA checkpoint {path}, {key}'
    state = {n.removeprefix('backbone.'): v for n, v in bare(content[key], source).items()}
    return _checked(state, source), source, {}


def _checked(state: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """The weights, if they are those of a ViT for clips."""
    require(state, 'patch_embed.proj.weight', source)
    require(state, 'blocks.0.attn.qkv.weight', source)
    return state


def _vjepa_config(
    arch: dict, positions: str, size: int, frames: int, patch_size: int, tubelet_size: int
) -> dict[str, Any]:
    return dict(
        type='JointViT',
        arch=arch,
        positions=positions,
        pretrain_size=size,
        pretrain_frames=frames,
        patch_size=patch_size,
        tubelet_size=tubelet_size,
    )


def _settle_version(
    state: dict[str, Tensor],
) -> tuple[dict[str, Tensor], str, bool, tuple[str, ...]]:
    """Bring V-JEPA 2.1 to the layers of V-JEPA 2.

    Returns:
        The weights, the kind of positions, whether these span a fixed grid, and what was left out.
    """
    norms = sorted({int(n.split('.')[1]) for n in state if n.startswith('norms_block.')})
    if not norms:
        return state, 'tiled_rope', False, ()
    last = f'norms_block.{norms[-1]}.'
    unused = tuple(f'norms_block.{number}.' for number in norms[:-1])
    state, dropped = split_off(state, unused)
    state = {name.replace(last, 'norm.'): value for name, value in state.items()}
    if 'video_mod_embed' in state:  # the same vector for every token: part of the bias
        bias = state['patch_embed.proj.bias']
        state['patch_embed.proj.bias'] = bias.float() + state.pop('video_mod_embed').flatten()
    return state, 'rope', True, dropped


def _regroup_pairs(state: dict[str, Tensor], width: int, heads: int) -> dict[str, Tensor]:
    """Reorder queries and keys: V-JEPA rotates neighbouring channels, ``Rope3D`` the two halves."""
    order = pair_order(width // heads)
    within = (torch.arange(heads)[:, None] * (width // heads) + order).flatten()
    rows = torch.cat([within, within + width, torch.arange(2 * width, 3 * width)])
    return {
        name: value[rows] if '.attn.qkv.' in name and value.shape[0] == 3 * width else value
        for name, value in state.items()
    }


def pair_order(head_dim: int) -> Tensor:
    """Which of V-JEPA's channels stands where in ``Rope3D``'s order: ``(head_dim,)``.

    V-JEPA lays out time, height and width one after another, each as pairs of neighbours, and what
    is not rotated last; ``Rope3D`` has the first channel of every pair in the first half of a head
    and the second in the second.
    """
    rotated = 3 * 2 * ((head_dim // 3) // 2)
    return torch.cat(
        [
            torch.arange(0, rotated, 2),
            torch.arange(rotated, (rotated + head_dim) // 2),
            torch.arange(1, rotated, 2),
            torch.arange((rotated + head_dim) // 2, head_dim),
        ]
    )
