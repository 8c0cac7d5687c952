"""Recomputing saves memory and changes nothing."""

import pytest
import torch
from dense import assert_same_with_gradients
from timm.layers import Mlp
from torch import nn

from nextvid_mm.layers import CausalBlock, LeanMlp, Rope3D, TokenGrid, set_recompute


def kept_values(module, *inputs):
    """Numbers that automatic differentiation keeps besides inputs and parameters."""
    known = {x.untyped_storage().data_ptr() for x in (*module.parameters(), *inputs)}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(*inputs)
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values()) // 8


def test_light_recomputation_equals_timm_and_does_not_keep_the_activation():
    lean = LeanMlp(8, 32).double()
    plain = Mlp(8, 32).double()
    plain.load_state_dict(lean.state_dict())
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    whole = kept_values(lean, x)
    lean.recompute = True
    light = kept_values(lean, x)
    assert_same_with_gradients(lean, plain, (x,))
    assert whole == 2 * x.numel() * 4
    assert light == x.numel() * 4


class Rotated(nn.Module):
    def __init__(self, block, rope):
        super().__init__()
        self.block, self.rope = block, rope

    def forward(self, x):
        return self.block(x, self.rope)


def test_a_block_with_light_recomputation_keeps_a_quarter_less():
    block = CausalBlock(24, 2).double()
    grid = TokenGrid(3, 2, 2)
    x = torch.randn(1, 3, 4, 24, dtype=torch.float64)
    rope = Rope3D(12)(grid)
    sizes = []
    for with_cp in (False, 'light'):
        assert set_recompute([block], with_cp) is False
        sizes.append(kept_values(Rotated(block, rope), x))
    # Two norms, q, k, v, attention, its sum and the hidden layer: 12 widths remain of 16.
    assert sizes[1] < 0.78 * sizes[0]


def test_whole_blocks_are_left_to_the_caller():
    blocks = nn.ModuleList([CausalBlock(24, 2)])
    assert set_recompute(blocks, True) is True
    assert not blocks[0].mlp.recompute


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="with_cp='heavy' is not one of False, 'light', True"):
        set_recompute([], 'heavy')
