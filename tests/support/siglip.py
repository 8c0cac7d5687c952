"""The image encoder of SigLIP, written from its definition over a published state dict."""

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear, softmax

EPS = 1e-6


def random_weights(width, depth, mlp, patch, grid):
    """A state dict with the published names, of the size asked for, with a text tower's corner."""
    make = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=make) * 0.05

    state = {
        'logit_scale': torch.zeros(1),
        'logit_bias': torch.zeros(1),
        'text_model.final_layer_norm.weight': torch.zeros(4),
        'vision_model.head.probe': torch.zeros(1, 1, width),
        'vision_model.embeddings.patch_embedding.weight': draw(width, 3, patch, patch),
        'vision_model.embeddings.patch_embedding.bias': draw(width),
        'vision_model.embeddings.position_embedding.weight': draw(grid * grid, width),
        'vision_model.post_layernorm.weight': 1 + draw(width),
        'vision_model.post_layernorm.bias': draw(width),
    }
    for number in range(depth):
        layer = f'vision_model.encoder.layers.{number}.'
        for name in ('layer_norm1', 'layer_norm2'):
            state |= {f'{layer}{name}.weight': 1 + draw(width), f'{layer}{name}.bias': draw(width)}
        for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
            state |= {
                f'{layer}self_attn.{name}.weight': draw(width, width),
                f'{layer}self_attn.{name}.bias': draw(width),
            }
        for name, size in (('fc1', (mlp, width)), ('fc2', (width, mlp))):
            state |= {
                f'{layer}mlp.{name}.weight': draw(*size),
                f'{layer}mlp.{name}.bias': draw(size[0]),
            }
    return state


def features(state, frames, patch, heads):
    """Patch features ``(n, N, C)`` of frames at the native size."""
    state = {k.removeprefix('vision_model.'): v for k, v in state.items()}

    def apply(name, x):
        return linear(x, state[f'{name}.weight'], state[f'{name}.bias'])

    def norm(name, x):
        return layer_norm(x, x.shape[-1:], state[f'{name}.weight'], state[f'{name}.bias'], EPS)

    weight = state['embeddings.patch_embedding.weight']
    x = conv2d(frames, weight, state['embeddings.patch_embedding.bias'], stride=patch)
    x = x.flatten(2).transpose(1, 2) + state['embeddings.position_embedding.weight']
    depth = sum(name.endswith('layer_norm1.bias') for name in state)
    for number in range(depth):
        layer = f'encoder.layers.{number}.'
        y = norm(layer + 'layer_norm1', x)
        q, k, v = (
            apply(f'{layer}self_attn.{name}_proj', y).unflatten(-1, (heads, -1)).transpose(1, 2)
            for name in 'qkv'
        )
        mixed = softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1) @ v
        x = x + apply(layer + 'self_attn.out_proj', mixed.transpose(1, 2).flatten(2))
        y = gelu(apply(layer + 'mlp.fc1', norm(layer + 'layer_norm2', x)), approximate='tanh')
        x = x + apply(layer + 'mlp.fc2', y)
    return norm('post_layernorm', x)
