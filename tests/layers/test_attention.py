"""Every attention pattern equals a dense boolean mask, in outputs and gradients (float64)."""

import pytest
import torch
from dense import (
    assert_same_with_gradients,
    autoregressive_mask,
    causal_mask,
    dense_attention,
    isolated_mask,
    split_heads,
)
from rotating import apply_rope
from torch import _dynamo as dynamo

from nextvid_mm.layers import (
    CausalBlock,
    ContextAttention,
    FrameAttention,
    Rope3D,
    TokenGrid,
    attention,
    prefix_attention,
    run_eagerly,
    set_attention_backend,
)
from nextvid_mm.layers.attention import (
    COMPILED_SHAPES,
    MANY_BLOCKS,
    allow_many_shapes,
    attention_layers,
    block_mask,
    flex_prefix_attention,
)

SHAPES = [(1, 1, 3), (2, 4, 1), (3, 5, 6), (2, 8, 9)]  # batch, frames, tokens per frame
MANY = (1, MANY_BLOCKS, 3)  # as many as `flex` is chosen for
DIM, HEADS = 24, 2


def some_patches(batch, count, grid):
    """Different visible patches for every sample."""
    return torch.stack([torch.randperm(grid.patches)[:count].sort().values for _ in range(batch)])


@pytest.mark.parametrize('group', [None, 1, 2, 3])
@pytest.mark.parametrize(('nq', 'nk'), [(3, 3), (2, 5), (7, 4)])
@pytest.mark.parametrize(('batch', 'frames'), [(1, 1), (2, 4), (3, 7)])
def test_prefix_attention_equals_a_dense_mask(batch, frames, nq, nk, group):
    q = torch.randn(batch, 2, frames * nq, 8, dtype=torch.float64)
    k, v = torch.randn(2, batch, 2, frames * nk, 8, dtype=torch.float64)
    mask = autoregressive_mask(frames, nq, nk)
    assert_same_with_gradients(
        lambda q, k, v: prefix_attention(q, k, v, frames, group),
        lambda q, k, v: dense_attention(q, k, v, mask),
        (q, k, v),
    )


@pytest.fixture
def flex_learns(monkeypatch):
    """FlexAttention has gradients on a CPU, too, which PyTorch refuses before it asks for them.

    Not compiled, it computes all pairs and hides some: which pairs is tested, not which tiles.
    """
    monkeypatch.setattr('torch.nn.attention.flex_attention._validate_device', lambda *_: None)


@pytest.mark.usefixtures('flex_learns')
@pytest.mark.parametrize('backend', ['sdpa', 'flex'])
@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(('batch', 'frames', 'tokens'), [*SHAPES, MANY])
def test_causal_attention_equals_a_dense_mask(batch, frames, tokens, masked, backend):
    layer = FrameAttention(DIM, HEADS, causal=True).double()
    set_attention_backend(layer, backend)
    grid = TokenGrid(frames, 3, 5) if masked else TokenGrid(frames, 1, tokens)
    patches = some_patches(batch, tokens, grid) if masked else None
    rope = Rope3D(DIM // HEADS)(grid, patches)

    def dense(x):
        q, k, v = (split_heads(part, HEADS) for part in layer.qkv(x).chunk(3, dim=-1))
        q, k = apply_rope(q, rope), apply_rope(k, rope)
        out = dense_attention(q, k, v, causal_mask(frames, tokens))
        return layer.proj(out.transpose(1, 2).reshape(x.shape))

    x = torch.randn(batch, frames, tokens, DIM, dtype=torch.float64)
    assert_same_with_gradients(lambda x: layer(x, rope), dense, (x,))


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(('batch', 'frames', 'tokens'), SHAPES)
def test_isolated_attention_equals_a_dense_mask_with_time_in_the_rotation(
    batch, frames, tokens, masked
):
    """The layer rotates by space only: within a frame, time turns everything alike."""
    layer = FrameAttention(DIM, HEADS, causal=False).double()
    grid = TokenGrid(frames, 3, 5) if masked else TokenGrid(frames, 1, tokens)
    patches = some_patches(batch, tokens, grid) if masked else None
    make_rope = Rope3D(DIM // HEADS)
    full_rope = make_rope(grid, patches, first_tubelet=3)
    frame_rope = make_rope(grid.with_tubelets(1), patches)
    if masked:
        frame_rope = type(frame_rope)(*(t.repeat_interleave(frames, 0) for t in frame_rope))

    def dense(x):
        q, k, v = (split_heads(part, HEADS) for part in layer.qkv(x).chunk(3, dim=-1))
        q, k = apply_rope(q, full_rope), apply_rope(k, full_rope)
        out = dense_attention(q, k, v, isolated_mask(frames, tokens))
        return layer.proj(out.transpose(1, 2).reshape(x.shape))

    x = torch.randn(batch, frames, tokens, DIM, dtype=torch.float64)
    # The tables are computed in float32: that bounds the agreement of two rotations.
    assert_same_with_gradients(lambda x: layer(x, frame_rope), dense, (x,), tolerance=1e-5)


@pytest.mark.usefixtures('flex_learns')
@pytest.mark.parametrize('backend', ['sdpa', 'flex'])
@pytest.mark.parametrize('visible', [2, 6])
@pytest.mark.parametrize(('batch', 'frames', 'tokens'), [*SHAPES, MANY])
def test_context_attention_equals_a_dense_mask(batch, frames, tokens, visible, backend):
    layer = ContextAttention(DIM, HEADS).double()
    set_attention_backend(layer, backend)
    grid = TokenGrid(frames, 3, 5)
    make_rope = Rope3D(DIM // HEADS)
    query_rope = make_rope(grid, some_patches(batch, tokens, grid), first_tubelet=1)
    context_rope = make_rope(grid, some_patches(batch, visible, grid))

    def dense(x, context):
        k, v = (split_heads(part, HEADS) for part in layer.kv(context).chunk(2, dim=-1))
        q = apply_rope(split_heads(layer.q(x), HEADS), query_rope)
        out = dense_attention(
            q, apply_rope(k, context_rope), v, autoregressive_mask(frames, tokens, visible)
        )
        return layer.proj(out.transpose(1, 2).reshape(x.shape))

    x = torch.randn(batch, frames, tokens, DIM, dtype=torch.float64)
    context = torch.randn(batch, frames, visible, DIM, dtype=torch.float64)
    assert_same_with_gradients(
        lambda x, c: layer(x, c, query_rope, context_rope), dense, (x, context)
    )


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match='num_heads=5 does not divide the width embed_dims=24'):
        FrameAttention(24, 5, causal=True)


@pytest.mark.parametrize(('frames', 'nq', 'nk'), [(1, 3, 3), (4, 5, 5), (3, 6, 2), (40, 5, 5)])
@pytest.mark.usefixtures('flex_learns')
def test_flex_equals_a_dense_mask(frames, nq, nk):
    q = torch.randn(2, 2, frames * nq, 16, dtype=torch.float64)
    k, v = torch.randn(2, 2, 2, frames * nk, 16, dtype=torch.float64)
    mask = autoregressive_mask(frames, nq, nk)
    assert_same_with_gradients(
        lambda q, k, v: flex_prefix_attention(q, k, v, frames),
        lambda q, k, v: dense_attention(q, k, v, mask),
        (q, k, v),
    )


@pytest.mark.parametrize(('frames', 'nq', 'nk'), [(3, 90, 90), (16, 40, 24), (40, 5, 5)])
def test_tiles_of_flex_leave_no_pair_out_and_hide_all_others(frames, nq, nk):
    tiles = block_mask(frames, nq, nk, torch.device('cpu'))
    mask = autoregressive_mask(frames, nq, nk)
    rows, columns = tiles.BLOCK_SIZE
    for row, queries in enumerate(mask.split(rows)):
        whole = tiles.full_kv_indices[0, 0, row, : tiles.full_kv_num_blocks[0, 0, row]].tolist()
        partly = tiles.kv_indices[0, 0, row, : tiles.kv_num_blocks[0, 0, row]].tolist()
        for column, pairs in enumerate(queries.split(columns, dim=1)):
            assert (column in whole) + (column in partly) == pairs.any()
            assert pairs.all() or column not in whole


@torch.no_grad()
def test_a_layer_uses_it_when_told_to():
    layer, rope = FrameAttention(32, 2, causal=True), Rope3D(16)(TokenGrid(3, 2, 2))
    x = torch.randn(1, 3, 4, 32)
    by_default = layer(x, rope)
    set_attention_backend(layer, 'flex')
    assert layer.backend == 'flex'
    torch.testing.assert_close(layer(x, rope), by_default, atol=1e-5, rtol=1e-5)
    assert causal_mask(3, 4).sum() == 4 * 4 * 6


def test_the_choice_follows_device_and_length(monkeypatch):
    class OnGpu(torch.Tensor):
        is_cuda = True

    def chosen(backend, kind, head_dim, blocks):
        used = []
        monkeypatch.setattr(attention, 'flex_prefix_attention', lambda *_: used.append('flex'))
        q = torch.zeros(1, 1, blocks, head_dim).as_subclass(kind)
        prefix_attention(q, q, q, blocks, backend=backend)
        return used or ['sdpa']

    assert chosen('auto', torch.Tensor, 64, 64) == ['sdpa'], 'on a CPU'
    assert chosen('auto', OnGpu, 64, MANY_BLOCKS) == ['flex']
    assert chosen('auto', OnGpu, 64, MANY_BLOCKS - 1) == ['sdpa']
    assert chosen('auto', OnGpu, 8, MANY_BLOCKS) == ['sdpa']
    assert chosen('flex', OnGpu, 64, 2) == ['flex']
    assert chosen('sdpa', OnGpu, 64, 64) == ['sdpa']


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="attention='xformers' is not one of auto, sdpa, flex"):
        set_attention_backend(torch.nn.Identity(), 'xformers')


def test_the_limit_is_raised_and_never_lowered():
    before = dynamo.config.recompile_limit
    try:
        for given, expected in ((8, COMPILED_SHAPES), (1000, 1000)):
            dynamo.config.recompile_limit = given
            allow_many_shapes()
            assert dynamo.config.recompile_limit == expected
    finally:
        dynamo.config.recompile_limit = before


@pytest.fixture
def blocks():
    blocks = torch.nn.Sequential(CausalBlock(32, 2, 2.0), CausalBlock(32, 2, 2.0))
    set_attention_backend(blocks, 'flex')
    return blocks


def backends(blocks):
    return [layer.backend for layer in attention_layers(blocks)]


def test_attention_is_plain_within_and_as_before_afterwards(blocks):
    with run_eagerly(blocks):
        assert backends(blocks) == ['sdpa', 'sdpa']
    assert backends(blocks) == ['flex', 'flex']
    with pytest.raises(KeyError), run_eagerly(blocks):
        raise KeyError
    assert backends(blocks) == ['flex', 'flex']


def test_nothing_is_compiled_within():
    calls = []

    def backend(graph, inputs):
        calls.append(1)
        return graph.forward

    module = torch.nn.Linear(2, 2)
    module.compile(backend=backend)
    with run_eagerly(module):
        module(torch.zeros(1, 2))
    assert not calls
    module(torch.zeros(1, 2))
    assert calls
