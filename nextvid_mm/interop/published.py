"""Encoders that others have published: one function per format, from a file to ``Converted``.

Key layouts, as published.

VideoMAE and VideoMAEv2 (arXiv 2203.12602, 2303.16727). Original, pretraining: ``model`` wrapper,
``encoder.blocks.N...``, ``encoder.norm``, beside ``decoder``, ``encoder_to_decoder`` and
``mask_token``. Original, fine-tuned or distilled: ``module`` or ``model`` wrapper,
``blocks.N...``, ``fc_norm``, ``head``. MMAction2: ``state_dict`` wrapper, ``backbone.blocks.N...``,
``backbone.fc_norm``, ``cls_head``. In all of them queries and values have a bias (``q_bias``,
``v_bias``) and keys have none.

V-JEPA (arXiv 2404.08471), V-JEPA 2 (arXiv 2506.09985) and V-JEPA 2.1: the EMA encoder under
``target_encoder`` (``ema_encoder`` in the distilled 2.1 models) and the trained one under
``encoder``, each name with the prefix ``module.backbone.``; beside them ``predictor`` and what
training left.

Image ViTs of timm, applied per frame: as its releases have them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from nextvid_mm.models.backbones.joint_vit import sinusoid_table
from nextvid_mm.models.checkpoints import read_file

from .converted import (
    Converted,
    flatten_patch_embed,
    infer_arch,
    require,
    split_off,
    unwrap,
)
from .export import export_encoder
from .vjepa_probes import how_to_test, read_probes

VIDEOMAE_HEADS = {384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 16}
# Pixels per side and video frames of every published model.
SIZE, FRAMES = 224, 16
OTHER_PARTS = ('decoder.', 'encoder_to_decoder.', 'mask_token', 'head.', 'cls_head.', 'fc_norm.')
_MMACTION = [
    (r'^patch_embed\.projection\.', 'patch_embed.proj.'),
    (r'\.mlp\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.mlp\.layers\.1\.', '.mlp.fc2.'),
]
VJEPA_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
ENCODERS = ('target_encoder', 'ema_encoder', 'encoder')
# V-JEPA 2.1: how images enter, and norms of earlier layers that only its losses read.
IMAGE_PARTS = ('patch_embed_img.', 'img_mod_embed')
# V-JEPA 2.1 stretches rows and columns over the grid of 256 pixels, whatever the image size.
SPAN_PIXELS = 256
V1_FRAMES = 16
CLASSIFIER = ('head.', 'head_dist.')


def from_videomae(path: str | Path, heads: int | None = None) -> Converted:
    """Convert a checkpoint of VideoMAE or VideoMAEv2, in either format.

    The encoder of a pretraining checkpoint ends in a norm. A fine-tuned one does not: its tokens
    are averaged first, and the norm behind that belongs to its head.

    Args:
        path: the file.
        heads: attention heads, for widths that were never published.

    Raises:
        ValueError: if the file is of another format.
    """
    source = f'VideoMAE checkpoint {path}'
    content = unwrap(read_file(path), ('model', 'module', 'state_dict'))
    state = {_plain(name): value for name, value in content.items()}
    state, dropped = split_off(state, OTHER_PARTS)
    require(state, 'patch_embed.proj.weight', source)
    require(state, 'blocks.0.attn.qkv.weight', source)
    arch = infer_arch(state, VIDEOMAE_HEADS, source, heads)
    state, patch_size, tubelet_size = flatten_patch_embed(_join_biases(state))
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
    if 'pos_embed' in state and _is_sinusoid(state['pos_embed']):
        dropped += ('pos_embed',)
        del state['pos_embed']
    elif 'pos_embed' in state:
        backbone['positions'] = 'learned'
    return Converted(backbone, state, dropped, source)


def _plain(name: str) -> str:
    """Name of a tensor without the prefixes of wrappers, in the original's spelling."""
    for prefix in ('module.', 'backbone.', 'encoder.'):
        name = name.removeprefix(prefix)
    for pattern, replacement in _MMACTION:
        name = re.sub(pattern, replacement, name)
    return name


def _join_biases(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Write the biases of queries and values, with zeros for the keys, as one vector."""
    joined = {n: v for n, v in state.items() if not n.endswith(('.q_bias', '.v_bias'))}
    for name, q in state.items():
        block, found, _ = name.rpartition('.q_bias')
        if found and f'{block}.v_bias' in state:
            v = state[f'{block}.v_bias']
            joined[f'{block}.qkv.bias'] = torch.cat([q, torch.zeros_like(q), v])
    return joined


def _is_sinusoid(table: Tensor) -> bool:
    expected = sinusoid_table(table.shape[1], table.shape[2])
    return torch.allclose(table.float(), expected, atol=1e-5)


def from_vjepa2(
    path: str | Path,
    heads: int | None = None,
    encoder: str | None = None,
    size: int = 256,
    probe: str | Path | None = None,
) -> Converted:
    """Convert a checkpoint of V-JEPA 2 or 2.1.

    The released V-JEPA 2 rotates the two channels of a pair by different angles; its weights need
    that (``tiled_rope``). V-JEPA 2.1 rotates properly.

    Args:
        path: the file.
        heads: attention heads, for widths that were never published.
        encoder: one of ``ENCODERS``; None takes the first that is there.
        size: pixels per side the model was released for.
        probe: file with attentive probes trained on this encoder.

    Raises:
        ValueError: if a file is of another format, has no such encoder, or probes of another width.
    """
    state, source = _read_vjepa(path, encoder)
    # Rotary models still carry the table of absolute positions; no layer reads it.
    state, dropped = split_off(state, ('pos_embed', *IMAGE_PARTS))
    state, positions, span, more = _settle_version(state)
    arch = infer_arch(state, VJEPA_HEADS, source, heads)
    state, patch_size, tubelet_size = flatten_patch_embed(state)
    backbone = _vjepa_config(arch, positions, size, 64, patch_size, tubelet_size)
    if span:
        backbone['rope_span'] = SPAN_PIXELS // patch_size
    state = _regroup_pairs(state, arch['embed_dims'], arch['num_heads'])
    probes = None if probe is None else read_probes(probe, arch['embed_dims'])
    return Converted(backbone, state, dropped + more, source, probes)


def from_vjepa(path: str | Path, heads: int | None = None, encoder: str | None = None) -> Converted:
    """Convert a checkpoint of the first V-JEPA, whose positions are a table; arguments as above."""
    state, source = _read_vjepa(path, encoder)
    tokens = require(state, 'pos_embed', source).shape[1]
    arch = infer_arch(state, VJEPA_HEADS, source, heads)
    state, patch_size, tubelet_size = flatten_patch_embed(state)
    size = round((tokens * tubelet_size / V1_FRAMES) ** 0.5) * patch_size
    backbone = _vjepa_config(arch, 'learned', size, V1_FRAMES, patch_size, tubelet_size)
    return Converted(backbone, state, (), source)


def _read_vjepa(path: str | Path, encoder: str | None) -> tuple[dict[str, Tensor], str]:
    """Weights of the chosen encoder without prefixes, and the start of messages."""
    content = read_file(path)
    there = [key for key in ENCODERS if isinstance(content.get(key), Mapping)]
    if not there or encoder not in (None, *there):
        raise ValueError(
            f'{path} has no encoder {encoder or "under " + ", ".join(ENCODERS)}; '
            f'it holds {", ".join(list(content)[:8])}'
        )
    key = encoder or there[0]
    source = f'V-JEPA checkpoint {path}, {key}'
    state = {
        name.removeprefix('module.').removeprefix('backbone.'): value
        for name, value in content[key].items()
    }
    require(state, 'patch_embed.proj.weight', source)
    require(state, 'blocks.0.attn.qkv.weight', source)
    return state, source


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
        state['patch_embed.proj.bias'] = bias + state.pop('video_mod_embed').flatten()
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


OURS = 'nextvid'
FORMATS: dict[str, Callable[..., Converted]] = {
    'videomae': from_videomae,
    'videomaev2': from_videomae,
    'vjepa': from_vjepa,
    'vjepa2': from_vjepa2,
    'timm': from_timm,
}
TARGETS = ('nextvid', 'safetensors')


def convert(
    source: str, target: str, path: str | Path, output: str | Path, **options: Any
) -> list[str]:
    """Convert a checkpoint file.

    Args:
        source: one of ``FORMATS``, or ``nextvid``.
        target: ``nextvid`` for others' encoders, ``safetensors`` for ours.
        path: the checkpoint.
        output: file to write.
        options: what the format takes; those that are None are left out.

    Returns:
        Lines that say what was done.

    Raises:
        ValueError: if the formats do not go together, an option is not the format's, or the file
            is not what it should be.
    """
    if (source == OURS) != (target == 'safetensors'):
        raise ValueError(
            f'--from {source} --to {target}: published encoders are converted --to nextvid, ours '
            '--from nextvid --to safetensors'
        )
    given = {key: value for key, value in options.items() if value is not None}
    reader: Callable[..., Any] = export_encoder if source == OURS else FORMATS[source]
    allowed = set(inspect.signature(reader).parameters) - {'path', 'output'}
    if foreign := sorted(set(given) - allowed):
        raise ValueError(
            f'--from {source} takes no --{foreign[0]}; it takes '
            f'{", ".join(f"--{name}" for name in sorted(allowed)) or "no options"}'
        )
    if source == OURS:
        card = export_encoder(path, output, **given)
        return [f'wrote {output}', f'wrote {card}']
    converted = reader(path, **given)
    converted.save(output)
    return [f'wrote {output}', *_describe(converted, Path(output))]


def _describe(converted: Converted, output: Path) -> list[str]:
    parts = sorted({name.split('.')[0] for name in converted.dropped})
    lines = [f'encoder: {converted.backbone}']
    if parts:
        lines.append(f'left out, no part of the encoder: {", ".join(parts)}')
    if converted.probes is not None:
        return [*lines, *how_to_test(*converted.probes, output)]
    options = '--cfg-options model.encoder_weights=encoder'
    return [*lines, f'probe it: python tools/test.py configs/probe/ssv2.py {output} {options}']
