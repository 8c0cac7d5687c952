"""Sizes of the encoders, by name.

The three largest are the paper's (arXiv 2512.21004, Table 7), the smallest is the demo's.
"""

from __future__ import annotations

ARCHITECTURES = {
    'tiny': dict(embed_dims=128, depth=4, num_heads=4, mlp_ratio=4.0),
    'small': dict(embed_dims=384, depth=12, num_heads=6, mlp_ratio=4.0),
    'base': dict(embed_dims=768, depth=12, num_heads=12, mlp_ratio=4.0),
    'large': dict(embed_dims=1024, depth=24, num_heads=16, mlp_ratio=4.0),
    'huge': dict(embed_dims=1280, depth=32, num_heads=16, mlp_ratio=4.0),
    'giant': dict(embed_dims=1408, depth=40, num_heads=22, mlp_ratio=48 / 11),
}


def resolve_arch(arch: str | dict) -> dict:
    """Architecture settings of a name or a complete dict.

    Raises:
        ValueError: for an unknown name or missing or unknown keys.
    """
    if isinstance(arch, str):
        if arch not in ARCHITECTURES:
            raise ValueError(
                f'arch={arch!r} of CausalViT is unknown; choose one of {", ".join(ARCHITECTURES)} '
                'or give a dict'
            )
        return ARCHITECTURES[arch]
    expected = set(ARCHITECTURES['large'])
    if set(arch) != expected:
        raise ValueError(
            f'arch of CausalViT needs the keys {sorted(expected)}, found {sorted(arch)}'
        )
    return dict(arch)
