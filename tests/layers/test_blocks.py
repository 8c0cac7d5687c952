"""Blocks: shapes, the identity start of DiT, and who may not hear whom."""

import math

import pytest
import torch
from dense import assert_same_with_gradients
from timm.layers import Mlp
from tiny import wake
from torch import nn

from nextvid_mm.layers import (
    AdaLN,
    CausalBlock,
    ContextBlock,
    CrossDiTBlock,
    DiTBlock,
    LeanMlp,
    Rope3D,
    TimestepEmbed,
    TokenGrid,
    init_transformer,
    modulate,
    set_recompute,
)
from nextvid_mm.layers.blocks import RECOMPUTED

GRID = TokenGrid(4, 2, 3)
ROPE = Rope3D(12)


def changed_frames(function, x, frame):
    """Frames of the output that move when frame ``frame`` of the input is replaced."""
    other = x.clone()
    other[:, frame] = torch.randn_like(other[:, frame])
    with torch.no_grad():
        moved = (function(x) - function(other)).abs().amax(dim=(0, 2, 3)) > 0
    return moved.nonzero().flatten().tolist()


def test_a_causal_block_hears_own_and_earlier_frames():
    block = CausalBlock(24, 2).eval()
    x = torch.randn(2, 4, 6, 24)
    assert changed_frames(lambda x: block(x, ROPE(GRID)), x, 2) == [2, 3]


def test_a_context_block_hears_strictly_earlier_frames():
    """Row i of the output predicts frame i + 1 from the context of frames 0..i."""
    block = ContextBlock(24, 2).eval()
    queries, context = torch.randn(2, 2, 3, 6, 24)
    past = GRID.with_tubelets(3)

    def read(context):
        return block(queries, context, ROPE(past, first_tubelet=1), ROPE(past))

    assert changed_frames(read, context, 1) == [1, 2]


def test_queries_of_a_context_block_never_meet():
    block = ContextBlock(24, 2).eval()
    queries, context = torch.randn(2, 2, 3, 6, 24)
    past = GRID.with_tubelets(3)
    other = queries.clone()
    other[:, 1, 4] = 0
    with torch.no_grad():
        moved = block(queries, context, ROPE(past, first_tubelet=1), ROPE(past)) - block(
            other, context, ROPE(past, first_tubelet=1), ROPE(past)
        )
    where = (moved.abs().amax(dim=(0, 3)) > 0).nonzero().tolist()
    assert where == [[1, 4]]


def test_a_dit_block_starts_as_the_identity():
    block = DiTBlock(24, 2)
    x = torch.randn(5, 6, 24)
    assert torch.equal(block(x, torch.randn(5, 24), ROPE(GRID.with_tubelets(1))), x)


def test_stochastic_depth_only_acts_in_training():
    block = CausalBlock(24, 2, drop_path=0.9)
    x = torch.randn(64, 4, 6, 24)
    kept = block.train()(x, ROPE(GRID))
    assert 0 < (kept == x).flatten(1).all(dim=1).sum() < 64
    block.eval()
    assert torch.equal(block(x, ROPE(GRID)), block(x, ROPE(GRID)))


def test_modulations_start_at_zero_and_leave_tokens_alone():
    shift, scale = AdaLN(8, 2)(torch.randn(3, 8))
    x = torch.randn(3, 5, 8)
    assert shift.shape == (3, 1, 8)
    assert torch.equal(modulate(x, shift, scale), x)


def test_modulate_is_affine():
    x, shift, scale = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(modulate(x, shift, scale), x * (1 + scale) + shift)


def test_times_are_scaled_before_the_sinusoids():
    embed = TimestepEmbed(16, frequency_dim=4, scale=1000.0)
    seen = []
    embed.mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    embed(torch.tensor([0.0, 0.25]))
    angle = 250.0
    expected = [math.cos(angle), math.cos(angle / 100), math.sin(angle), math.sin(angle / 100)]
    torch.testing.assert_close(seen[0][0], torch.tensor([1.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(seen[0][1], torch.tensor(expected), atol=1e-4, rtol=1e-4)


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


def test_recomputation_keeps_less():
    block = CausalBlock(24, 2).double()
    grid = TokenGrid(3, 2, 2)
    x = torch.randn(1, 3, 4, 24, dtype=torch.float64)
    rope = Rope3D(12)(grid)
    sizes = {}
    for with_cp in RECOMPUTED:
        set_recompute([block], with_cp)
        sizes[with_cp] = kept_values(Rotated(block, rope), x)
    # Two norms, q, k, v, attention, its sum and the hidden layer: 12 widths remain of 16.
    assert sizes['light'] < 0.78 * sizes[False]
    # Of these, products and attention, and the input: 11.
    assert sizes['products'] < 0.95 * sizes['light']
    assert sizes[True] <= x.numel() + 2 * rope.cos.numel()


def _inputs_of_blocks():
    """Every kind of block with what it is given."""
    grid, frame = TokenGrid(3, 2, 2), TokenGrid(1, 2, 2)
    rope, still = Rope3D(16)(grid), Rope3D(16)(frame)
    tokens, rows = torch.randn(2, 3, 4, 32), torch.randn(6, 4, 32)
    condition = torch.randn(6, 32)
    return {
        CausalBlock: (tokens, rope),
        ContextBlock: (tokens, torch.randn(2, 3, 4, 32), rope, rope),
        DiTBlock: (rows, condition, still),
        CrossDiTBlock: (rows, condition, still, torch.randn(6, 4, 32)),
    }


@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('kind', [CausalBlock, ContextBlock, DiTBlock, CrossDiTBlock])
def test_recomputation_changes_neither_outputs_nor_gradients(kind, autocast):
    """Bit for bit: the same operators run, some of them twice."""
    block, inputs, found = wake(kind(32, 2)), _inputs_of_blocks()[kind], []
    for with_cp in RECOMPUTED:
        set_recompute([block], with_cp)
        block.zero_grad()
        leaves = [x.clone().requires_grad_() if isinstance(x, torch.Tensor) else x for x in inputs]
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            out = block(*leaves)
        out.float().square().sum().backward()
        grads = [x.grad for x in (*leaves, *block.parameters()) if isinstance(x, torch.Tensor)]
        found.append([out, *grads])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize('with_cp', ['light', 'products', True])
def test_passes_of_one_autocast_share_no_casts_with_the_backward_pass(with_cp):
    """As with two masks: autocast keeps the cast weights of the first pass for the second."""
    grads = []
    block, (x, rope) = wake(CausalBlock(32, 2)), _inputs_of_blocks()[CausalBlock]
    for how in (False, with_cp):
        set_recompute([block], how)
        block.zero_grad()
        with torch.autocast('cpu', torch.bfloat16):
            out = block(x, rope) + block(2 * x, rope)
        out.float().square().sum().backward()
        grads.append([p.grad for p in block.parameters()])
    torch.testing.assert_close(*grads, rtol=0.02, atol=0.02 * float(grads[0][0].abs().max()))


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="with_cp='heavy' is not one of False, 'light', 'p"):
        set_recompute([], 'heavy')


def test_residual_outputs_shrink_with_depth():
    blocks = nn.ModuleList(CausalBlock(128, 2) for _ in range(4))
    init_transformer(blocks, blocks)
    for depth, block in enumerate(blocks, start=1):
        scale = 0.02 / (2 * depth) ** 0.5
        assert block.attn.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert block.attn.proj.weight.std().item() == pytest.approx(scale, rel=0.05)
        assert block.mlp.fc2.weight.std().item() == pytest.approx(scale, rel=0.05)
        assert torch.count_nonzero(block.mlp.fc1.bias) == 0
