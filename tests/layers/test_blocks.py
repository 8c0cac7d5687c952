"""Blocks: shapes, the identity start of DiT, and who may not hear whom."""

import torch

from nextvid_mm.layers import CausalBlock, ContextBlock, DiTBlock, Rope3D, TokenGrid

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
    past = GRID.with_frames(3)

    def read(context):
        return block(queries, context, ROPE(past, first_frame=1), ROPE(past))

    assert changed_frames(read, context, 1) == [1, 2]


def test_queries_of_a_context_block_never_meet():
    block = ContextBlock(24, 2).eval()
    queries, context = torch.randn(2, 2, 3, 6, 24)
    past = GRID.with_frames(3)
    other = queries.clone()
    other[:, 1, 4] = 0
    with torch.no_grad():
        moved = block(queries, context, ROPE(past, first_frame=1), ROPE(past)) - block(
            other, context, ROPE(past, first_frame=1), ROPE(past)
        )
    where = (moved.abs().amax(dim=(0, 3)) > 0).nonzero().tolist()
    assert where == [[1, 4]]


def test_a_dit_block_starts_as_the_identity():
    block = DiTBlock(24, 2)
    x = torch.randn(5, 6, 24)
    assert torch.equal(block(x, torch.randn(5, 24), ROPE(GRID.with_frames(1))), x)


def test_stochastic_depth_only_acts_in_training():
    block = CausalBlock(24, 2, drop_path=0.9)
    x = torch.randn(64, 4, 6, 24)
    kept = block.train()(x, ROPE(GRID))
    assert 0 < (kept == x).flatten(1).all(dim=1).sum() < 64
    block.eval()
    assert torch.equal(block(x, ROPE(GRID)), block(x, ROPE(GRID)))
