"""Bringing an encoder that was trained elsewhere, or on other patches, into a ``CausalViT``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers import resample_patch_embed
from torch import Tensor

from nextvid_mm.models.backbones.causal_vit import CausalViT
from nextvid_mm.models.backbones.joint_vit import JointViT
from nextvid_mm.registry import MODELS

from .encoder import essential_config

_BLOCKS = ('embed_dims', 'depth', 'num_heads', 'mlp_ratio')


def causal_settings(stored: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Keys of a ``CausalViT`` that can take over an encoder's blocks.

    Args:
        stored: the encoder's config, as its file records it.
        path: the file, for messages.

    Returns:
        ``arch``, ``patch_size``, ``tubelet_size`` and ``tiled_rope``.

    Raises:
        ValueError: if its blocks are of another kind.
    """
    settings = essential_config(dict(stored))
    kind = MODELS.get(str(stored['type']))
    if kind not in (CausalViT, JointViT):
        raise ValueError(
            f'the encoder in {path} is a {stored["type"]}: only a CausalViT or a JointViT '
            '(VideoMAE, V-JEPA) has the blocks of an encoder that can go on being pretrained'
        )
    kept = {key: settings[key] for key in ('arch', 'patch_size', 'tubelet_size')}
    tiled = settings.get('tiled_rope', settings.get('positions') == 'tiled_rope')
    return kept | dict(tiled_rope=tiled)


def adapt_encoder(
    state: Mapping[str, Tensor], stored: Mapping[str, Any], module: Any, path: str
) -> tuple[dict[str, Tensor], list[str]]:
    """Weights for ``module`` out of those of another encoder.

    Colours are folded into the patch embedding, exactly: a ``CausalViT`` takes clips in [-1, 1].
    Patches of another size are resampled as in FlexiViT (arXiv 2212.08013). The blocks must be
    equal.

    Args:
        state: weights of the encoder, under its own names.
        stored: its config.
        module: the ``CausalViT`` they are for.
        path: the file, for messages.

    Returns:
        The weights, and a sentence about everything that is no longer as it was trained.

    Raises:
        ValueError: if the blocks differ; names the keys and both values. If ``module`` is another
            encoder.
    """
    if not isinstance(module, CausalViT):
        raise ValueError(
            f'adapt=True of EncoderWeights is for a CausalViT, not a {type(module).__name__}'
        )
    settings = causal_settings(stored, path)
    ours = {key: getattr(module, key) for key in _BLOCKS} | dict(tiled_rope=module.tiled_rope)
    theirs = {key: settings['arch'][key] for key in _BLOCKS} | dict(
        tiled_rope=settings['tiled_rope']
    )
    if different := [key for key in ours if ours[key] != theirs[key]]:
        pairs = '; '.join(
            f'{k}: {ours[k]!r} in model.backbone, {theirs[k]!r} there' for k in different
        )
        raise ValueError(f'the encoder in {path} has other blocks than model.backbone; {pairs}')
    kept = {name: value for name, value in state.items() if name != 'pos_embed'}
    notes = _changed_meaning(essential_config(dict(stored)), module)
    if 'norm.weight' not in kept:
        kept |= {f'norm.{name}': value for name, value in module.norm.state_dict().items()}
        notes.append('it has no norm after the last block: a new one takes its place')
    shape = (3, settings['tubelet_size'], settings['patch_size'], settings['patch_size'])
    kernel = kept['patch_embed.weight'].unflatten(1, shape).float()
    bias = kept['patch_embed.bias'].float()
    if MODELS.get(str(stored['type'])) is JointViT:
        kernel, bias = _fold_colours(kernel, bias, essential_config(dict(stored)))
    wanted = (3, module.tubelet_size, module.patch_size, module.patch_size)
    if shape != wanted:
        kernel = resize_patches(kernel, module.patch_size, module.tubelet_size)
        notes.append(
            f'patches of {shape[1]} frames x {shape[2]} px are resampled to {wanted[1]} x '
            f'{wanted[2]} px'
        )
    kept |= {'patch_embed.weight': kernel.flatten(1), 'patch_embed.bias': bias}
    return kept, notes


def _changed_meaning(stored: Mapping[str, Any], module: Any) -> list[str]:
    """What weights of equal shapes now compute differently."""
    notes = []
    if module.causal and not stored.get('causal', False):
        notes.append(
            'its tokens saw the whole clip in training and now see their own and earlier frames '
            'only: the causal attention is new to these weights'
        )
    elif stored.get('causal', False) and not module.causal:
        notes.append(
            'its tokens saw their own and earlier frames in training and now see the whole clip: '
            'later frames are new to these weights'
        )
    positions = stored.get('positions', 'rope')
    if 'rope' not in positions:
        notes.append(
            f'its positions ({positions}, added to the tokens) are left out: rotary ones, which '
            'are new to these weights, take their place'
        )
    if stored.get('rope_span'):
        notes.append(
            f'its positions spanned a grid of {stored["rope_span"]}; now they count patches'
        )
    return notes


def _fold_colours(
    kernel: Tensor, bias: Tensor, settings: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Let the embedding take pixels in [-1, 1] instead of ``(value - mean) / std``."""
    mean, std = (torch.tensor(settings[key])[:, None, None, None] for key in ('mean', 'std'))
    bias = bias + (kernel * ((0.5 - mean) / std)).flatten(1).sum(1)
    return kernel * (0.5 / std), bias


def resize_patches(kernel: Tensor, patch_size: int, tubelet_size: int) -> Tensor:
    """A patch embedding for patches of another size.

    Args:
        kernel: ``(C, 3, frames, rows, columns)``.
        patch_size: new rows and columns: the embedding of a resized patch stays what it was.
        tubelet_size: new frames: that of a static one stays what it was.
    """
    if kernel.shape[2] != tubelet_size:
        total = kernel.sum(2, keepdim=True)
        kernel = (total / tubelet_size).repeat(1, 1, tubelet_size, 1, 1)
    if kernel.shape[-1] == patch_size:
        return kernel
    width = kernel.shape[0]
    flat = kernel.transpose(1, 2).flatten(0, 1)  # (C * frames, 3, rows, columns)
    resized = resample_patch_embed(flat, [patch_size, patch_size])
    return resized.unflatten(0, (width, tubelet_size)).transpose(1, 2)
