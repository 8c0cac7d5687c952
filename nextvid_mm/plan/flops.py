"""Floating-point operations of a training step, counted from shapes.

PyTorch's counter needs a network to run: 45 s for a pass of ViT-G over 64 frames, on no data at
all. It also counts the hidden pairs where a group of frames shares a call. So it counts the
autoencoder, and the tests hold the formulas of the transformers against it.

A multiplication with its addition counts as two. Only useful work is counted: matrix products and
convolutions, and of attention the pairs a token may see (of frame-wise causal attention, the lower
half). Norms, activation functions and rotations are left out.

Shape legend: B clips, T tubelets, N patches per tubelet, K visible and M queried ones, k tau
samples, C channels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from nextvid_mm.layers import resolve_arch
from nextvid_mm.registry import MODELS

TIME_FREQUENCIES = 256  # of the decoder's time embedding
# What the formulas are for, by key of a model's config.
_COUNTED = {
    '': ('NextVid',),
    'backbone.': ('CausalViT',),
    'neck.': ('QFormerPredictor',),
    'head.': ('FlowMatchingHead', 'RegressionHead'),
    'head.decoder.': ('FrameDiT',),
    'align_head.': ('AlignHead',),
}


@dataclass(frozen=True)
class Cost:
    """Operations of a part of a step.

    Attributes:
        forward: of the forward pass.
        backward: of the backward pass; 0 where no gradient is taken.
    """

    forward: float = 0.0
    backward: float = 0.0

    @property
    def total(self) -> float:
        """Both."""
        return self.forward + self.backward

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.forward + other.forward, self.backward + other.backward)


def linear(rows: float, inputs: int, outputs: int, input_gradient: bool = True) -> Cost:
    """A linear layer; its backward pass is one product for the weight and one for the input."""
    forward = 2.0 * rows * inputs * outputs
    return Cost(forward, forward * (2 if input_gradient else 1))


def attention(pairs: float, dim: int) -> Cost:
    """Scores and weighted sums of ``pairs`` of tokens, over all heads together."""
    return Cost(4.0 * pairs * dim, 8.0 * pairs * dim)


def prefix_pairs(blocks: int, queries: int, keys: int) -> int:
    """Pairs when query block t sees key blocks 0..t."""
    return queries * keys * blocks * (blocks + 1) // 2


def times(cost: Cost, factor: float) -> Cost:
    """``cost``, ``factor`` times."""
    return Cost(cost.forward * factor, cost.backward * factor)


def encoder_cost(
    arch: Mapping[str, Any], batch: int, frames: int, tokens: int, patch_values: int
) -> Cost:
    """The encoder on ``(B, T, tokens)`` patches of ``patch_values`` numbers each."""
    dim, rows = arch['embed_dims'], batch * frames * tokens
    hidden = int(dim * arch['mlp_ratio'] + 0.5)
    block = linear(rows, dim, 4 * dim) + linear(rows, dim, 2 * hidden)
    block += attention(batch * prefix_pairs(frames, tokens, tokens), dim)
    return linear(rows, patch_values, dim, input_gradient=False) + times(block, arch['depth'])


def predictor_cost(
    neck: Mapping[str, Any], batch: int, frames: int, visible: int, queried: int
) -> Cost:
    """The predictor with ``queried`` tokens in each of ``frames`` frames."""
    dim = neck.get('embed_dims', 384)
    hidden = int(dim * neck.get('mlp_ratio', 4.0) + 0.5)
    rows, context_rows = batch * frames * queried, batch * frames * visible
    block = linear(rows, dim, 2 * dim) + linear(rows, dim, 2 * hidden)
    block += linear(context_rows, dim, 2 * dim)
    block += attention(batch * prefix_pairs(frames, queried, visible), dim)
    return linear(context_rows, neck['in_channels'], dim) + times(block, neck.get('depth', 12))


def decoder_cost(
    decoder: Mapping[str, Any], batch: int, frames: int, queried: int, tau_samples: int
) -> Cost:
    """The flow decoder; a frame is a row of ``queried`` tokens, for each tau sample."""
    dim = decoder.get('embed_dims', 384)
    hidden = int(dim * decoder.get('mlp_ratio', 4.0) + 0.5)
    images = batch * frames * tau_samples
    rows = images * queried
    block = linear(rows, dim, 4 * dim) + linear(rows, dim, 2 * hidden)
    block += attention(images * queried**2, dim) + linear(images, dim, 6 * dim)
    ends = linear(batch * frames * queried, decoder['condition_channels'], dim)
    ends += linear(rows, decoder['target_channels'], dim, input_gradient=False)
    ends += linear(rows, dim, decoder['target_channels'])
    ends += linear(images, TIME_FREQUENCIES, dim, input_gradient=False)
    ends += linear(images, dim, dim) + linear(images, dim, 2 * dim)
    return ends + times(block, decoder.get('depth', 12))


def autoencoder_cost(target: Mapping[str, Any], pixels: int) -> Cost:
    """A frame-wise target generator on one square image, as PyTorch counts it.

    Args:
        target: its config.
        pixels: side of the image.
    """
    return _autoencoder_cost(json.dumps(target), pixels)


@cache
def _autoencoder_cost(settings: str, pixels: int) -> Cost:
    with torch.device('meta'):  # it runs on no data
        target: Any = MODELS.build(json.loads(settings))
        image = torch.empty(1, 3, pixels, pixels)
        # The plain kernel consists of matrix products, which are counted; the CPU's fused is not.
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            target.encode_frames(image)
    return Cost(float(counter.get_total_flops()))


def uncounted(model: Mapping[str, Any]) -> str | None:
    """What of a model's config the formulas are not for, with its key; None if they count it.

    Parts that a ``NextVid`` does without are no obstacle.
    """
    for key, kinds in _COUNTED.items():
        part: Any = model
        for name in key.split('.')[:-1]:
            part = part.get(name) or {}
        if not str(part.get('type', kinds[0])).endswith(kinds):
            return f'model.{key}type={part["type"]!r}'
    return None


def step_cost(
    model: Mapping[str, Any],
    batch: int,
    video_frames: int,
    pixels: int,
    masks: Sequence[tuple[int, int]],
    tau_samples: int,
    static_share: float = 0.0,
) -> dict[str, Cost]:
    """Operations of one pretraining step by component.

    Args:
        model: config of a ``NextVid``, see :func:`uncounted`.
        batch: clips B.
        video_frames: frames per clip, before tubelets.
        pixels: side of a frame.
        masks: numbers of visible and queried patches (K, M) of each strategy.
        tau_samples: k.
        static_share: share of clips that are images, of which one frame is encoded.
    """
    backbone, arch = model['backbone'], resolve_arch(model['backbone']['arch'])
    patch, tubelet = backbone.get('patch_size', 16), backbone.get('tubelet_size', 2)
    frames, values = video_frames // tubelet, 3 * tubelet * patch**2
    full = encoder_cost(arch, batch, frames, (pixels // patch) ** 2, values)
    align, head, target = (
        model.get(key) or {} for key in ('align_head', 'head', 'target_generator')
    )
    costs = dict(target=Cost(), reference=Cost(full.forward) if align else Cost())
    if target.get('type') == 'VAVAETarget':
        images = batch * ((1 - static_share) * (video_frames - tubelet) + static_share)
        costs['target'] = times(autoencoder_cost(target, pixels), images)
    parts = dict(encoder=Cost(), predictor=Cost(), decoder=Cost(), align=Cost())
    past = frames - 1
    if str(head.get('type')).endswith('RegressionHead'):
        tau_samples = 1
    for visible, queried in masks:
        parts['encoder'] += encoder_cost(arch, batch, past, visible, values)
        parts['predictor'] += predictor_cost(model['neck'], batch, past, visible, queried)
        if head:
            parts['decoder'] += decoder_cost(head['decoder'], batch, past, queried, tau_samples)
        if align:
            rows = batch * past * queried
            parts['align'] += linear(rows, align['in_channels'], align['out_channels'])
    return costs | parts
