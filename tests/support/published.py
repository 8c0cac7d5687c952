"""Checkpoints in the published key layouts, with random weights, and what those networks compute.

The references are written from the papers' definitions on the published names: 3D convolution,
positions, pre-norm blocks, softmax attention; nothing of the package is used.
"""

import math

import numpy as np
import torch
from torch.nn.functional import conv3d, gelu, layer_norm, linear, softmax

EPS = 1e-6


class Slab:
    """Random tensors as views of one random block: quick to draw, and stored once in a file."""

    def __init__(self, seed=0, size=1 << 24):
        generator = torch.Generator().manual_seed(seed)
        self.block = torch.randn(size, generator=generator) * 0.03
        self.offset = 0

    def take(self, *shape):
        count = math.prod(shape)
        # A prime stride: tensors overlap, but none equals another.
        self.offset = (self.offset + 7919 * 131) % (len(self.block) - count)
        return self.block[self.offset : self.offset + count].view(shape)


def vit_state(width, depth, hidden, kernel, slab, qkv_bias=True):
    """Weights of a plain ViT: ``patch_embed.proj``, ``blocks.N``; the final norm is not included.

    ``qkv_bias``: one bias for queries, keys and values, or VideoMAE's ``q_bias`` and ``v_bias``.
    """
    state = {
        'patch_embed.proj.weight': slab.take(width, *kernel),
        'patch_embed.proj.bias': slab.take(width),
    }
    for n in range(depth):
        block = f'blocks.{n}.'
        for norm in ('norm1', 'norm2'):
            state |= norm_state(block + norm, width, slab)
        state[block + 'attn.qkv.weight'] = slab.take(3 * width, width)
        if qkv_bias:
            state[block + 'attn.qkv.bias'] = slab.take(3 * width)
        else:
            state[block + 'attn.q_bias'] = slab.take(width)
            state[block + 'attn.v_bias'] = slab.take(width)
        state[block + 'attn.proj.weight'] = slab.take(width, width)
        state[block + 'attn.proj.bias'] = slab.take(width)
        state[block + 'mlp.fc1.weight'] = slab.take(hidden, width)
        state[block + 'mlp.fc1.bias'] = slab.take(hidden)
        state[block + 'mlp.fc2.weight'] = slab.take(width, hidden)
        state[block + 'mlp.fc2.bias'] = slab.take(width)
    return state


def norm_state(name, width, slab):
    return {f'{name}.weight': 1 + slab.take(width), f'{name}.bias': slab.take(width)}


def imagenet_pixels(clip):
    """Clips in [-1, 1] to ImageNet's normalisation."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1, 1)
    return ((clip + 1) / 2 - mean) / std


def embed(state, pixels):
    """``(B, L, C)``: the strided 3D convolution, tokens in the order time, row, column."""
    kernel = state['patch_embed.proj.weight']
    x = conv3d(pixels, kernel, state['patch_embed.proj.bias'], stride=kernel.shape[2:])
    return x.flatten(2).transpose(1, 2)


def norm(state, name, x):
    return layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], EPS)


def run_blocks(state, x, heads, rotate=lambda q: q):
    """All blocks; ``rotate`` turns queries and keys ``(B, h, L, D)``."""
    depth = 1 + max(int(name.split('.')[1]) for name in state if name.startswith('blocks.'))
    for n in range(depth):
        block = f'blocks.{n}.'
        y = linear(norm(state, block + 'norm1', x), state[block + 'attn.qkv.weight'])
        if block + 'attn.q_bias' in state:
            q_bias, v_bias = state[block + 'attn.q_bias'], state[block + 'attn.v_bias']
            y = y + torch.cat([q_bias, 0 * q_bias, v_bias])
        else:
            y = y + state[block + 'attn.qkv.bias']
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in y.chunk(3, dim=-1))
        q, k = rotate(q), rotate(k)
        weights = softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        y = (weights @ v).transpose(1, 2).flatten(2)
        x = x + linear(y, state[block + 'attn.proj.weight'], state[block + 'attn.proj.bias'])
        y = norm(state, block + 'norm2', x)
        y = gelu(linear(y, state[block + 'mlp.fc1.weight'], state[block + 'mlp.fc1.bias']))
        x = x + linear(y, state[block + 'mlp.fc2.weight'], state[block + 'mlp.fc2.bias'])
    return x


def counting_sinusoids(length, width):
    """VideoMAE's positions, channel by channel: sine on even, cosine on odd ones."""
    table = np.zeros((length, width))
    position = np.arange(length)
    for channel in range(width):
        angle = position / 10000 ** (2 * (channel // 2) / width)
        table[:, channel] = np.cos(angle) if channel % 2 else np.sin(angle)
    return torch.from_numpy(table).float()[None]


def vjepa_rotation(grid, tiled, span=None):
    """How V-JEPA 2 turns a head: time, rows, columns, each on 2 * (D // 3 // 2) channels.

    Neighbouring channels form a pair. ``tiled`` is the released code's slip: channel c takes the
    frequency c modulo the number of pairs, so that the two of a pair turn by different angles.
    """
    frames, height, width = grid
    t, h, w = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing='ij')
    stretch = [1.0, 1.0, 1.0]
    if span is not None:
        stretch = [1.0, (span - 1) / (height - 1), (span - 1) / (width - 1)]
    positions = [p.reshape(-1) * s for p, s in zip((t, h, w), stretch, strict=True)]

    def rotate(x):
        out = x.clone()
        pairs = x.shape[-1] // 3 // 2
        for axis, position in enumerate(positions):
            start = axis * 2 * pairs
            for pair in range(pairs):
                first, second = start + 2 * pair, start + 2 * pair + 1
                a, b = x[..., first], x[..., second]
                for channel, own, other, sign in ((first, a, b, -1), (second, b, a, 1)):
                    number = (channel - start) % pairs if tiled else pair
                    angle = torch.from_numpy(position / 10000 ** (number / pairs)).float()
                    out[..., channel] = own * angle.cos() + sign * other * angle.sin()
        return out

    return rotate
