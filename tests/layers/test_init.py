import pytest
import torch
from torch import nn

from nextvid_mm.layers import CausalBlock, init_transformer


def test_residual_outputs_shrink_with_depth():
    blocks = nn.ModuleList(CausalBlock(128, 2) for _ in range(4))
    init_transformer(blocks, blocks)
    for depth, block in enumerate(blocks, start=1):
        scale = 0.02 / (2 * depth) ** 0.5
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.attn.proj.weight.std().item() == pytest.approx(scale, rel=0.05)
        assert block.mlp.fc2.weight.std().item() == pytest.approx(scale, rel=0.05)
        assert torch.count_nonzero(block.mlp.fc1.bias) == 0
