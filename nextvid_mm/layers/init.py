"""Weight initialisation shared by the three networks."""

from __future__ import annotations

from torch import nn


def init_transformer(network: nn.Module, blocks: nn.ModuleList, std: float = 0.02) -> None:
    """Truncated normal linears, zero biases.

    The last linear of each residual branch is scaled down by the square root of twice its depth,
    as in V-JEPA (arXiv 2404.08471).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for depth, block in enumerate(blocks, start=1):
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.data.div_((2.0 * depth) ** 0.5)
