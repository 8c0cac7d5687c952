"""Names of autoencoder weights: from the latent-diffusion format to that of diffusers."""

from __future__ import annotations

import re

from torch import Tensor

_RULES = [
    (r'^(encoder|decoder)\.norm_out\.', r'\1.conv_norm_out.'),
    (r'^encoder\.down\.(\d+)\.downsample\.', r'encoder.down_blocks.\1.downsamplers.0.'),
    (r'^encoder\.down\.(\d+)\.block\.', r'encoder.down_blocks.\1.resnets.'),
    (r'^encoder\.down\.(\d+)\.attn\.', r'encoder.down_blocks.\1.attentions.'),
    (r'^decoder\.up\.(\d+)\.upsample\.', r'decoder.up_blocks.\1.upsamplers.0.'),
    (r'^decoder\.up\.(\d+)\.block\.', r'decoder.up_blocks.\1.resnets.'),
    (r'^decoder\.up\.(\d+)\.attn\.', r'decoder.up_blocks.\1.attentions.'),
    (r'\.mid\.block_1\.', '.mid_block.resnets.0.'),
    (r'\.mid\.block_2\.', '.mid_block.resnets.1.'),
    (r'\.mid\.attn_1\.', '.mid_block.attentions.0.'),
    (r'\.nin_shortcut\.', '.conv_shortcut.'),
    (r'(\.attentions\.\d+)\.norm\.', r'\1.group_norm.'),
    (r'(\.attentions\.\d+)\.([qkv])\.', r'\1.to_\2.'),
    (r'(\.attentions\.\d+)\.proj_out\.', r'\1.to_out.0.'),
]
_OLD_ATTENTION = [
    (r'(\.attentions\.\d+)\.query\.', r'\1.to_q.'),
    (r'(\.attentions\.\d+)\.key\.', r'\1.to_k.'),
    (r'(\.attentions\.\d+)\.value\.', r'\1.to_v.'),
    (r'(\.attentions\.\d+)\.proj_attn\.', r'\1.to_out.0.'),
]


def is_ldm(state: dict[str, Tensor]) -> bool:
    """Whether names are those of latent diffusion, not of diffusers."""
    return any(re.match(r'^(encoder\.down|decoder\.up)\.\d', name) for name in state)


def from_old_diffusers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename what the first releases of diffusers called otherwise; sd-vae-ft is one of them."""
    return {_rename(name, _OLD_ATTENTION): value for name, value in state.items()}


def from_ldm(state: dict[str, Tensor], levels: int) -> dict[str, Tensor]:
    """Rename the weights of an LDM autoencoder for ``diffusers.AutoencoderKL``.

    LDM counts the decoder's levels from the finest, diffusers from the coarsest; LDM writes the
    linear layers of attention as 1x1 convolutions.

    Args:
        state: weights in the LDM format.
        levels: number of resolutions.
    """
    renamed = {}
    for old, value in state.items():
        name = _rename(old, _RULES)
        name = re.sub(
            r'^decoder\.up_blocks\.(\d+)',
            lambda m: f'decoder.up_blocks.{levels - 1 - int(m[1])}',
            name,
        )
        is_attention = '.attentions.' in name and '.group_norm.' not in name
        renamed[name] = value[..., 0, 0] if is_attention and value.dim() == 4 else value
    return renamed


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
