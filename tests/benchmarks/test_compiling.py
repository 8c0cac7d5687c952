"""Graphs, breaks and recompilations of compiled parts, over the switch of stages."""

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks.compiling import count_compilations, recompilations
from benchmarks.workload import Workload, build_model, make_batch
from nextvid_mm.layers import (
    CausalBlock,
    ContextBlock,
    DiTBlock,
    Rope3D,
    TokenGrid,
    set_attention_backend,
    set_recompute,
)
from nextvid_mm.registry import MODELS


def test_other_masks_compile_nothing_anew():
    """Traced, not translated: whether code is generated again follows from the trace."""
    load = Workload('tiny', frames=4, batch=1)
    report = count_compilations(load, steps=2, backend='eager')
    assert report.rows[0]['graphs so far'] > 0
    assert recompilations(report.rows) == 0
    assert report.rows[-1]['breaks so far'] == 0
    assert len({row['loss'] for row in report.rows}) == 3


@pytest.fixture
def counts():
    """Of the compiler, from here on."""
    torch._dynamo.reset()
    counters.clear()
    yield counters
    torch._dynamo.reset()


def test_every_part_is_one_graph_a_shape_over_the_stages(counts):
    """Encoder, reference, predictor, decoder with their gradients, and the autoencoder."""
    model = build_model(Workload('tiny'))
    vae = dict(type='VAVAETarget', checkpoint='none', base_channels=32, latent_channels=48)
    model.target_generator = MODELS.build(vae)
    model.compile_blocks(backend='eager')
    seen = []
    for frames, tau, seed in ((4, 2, 0), (4, 2, 1), (4, 1, 0), (6, 1, 0), (6, 1, 1)):
        batch = make_batch(Workload('tiny', frames, 1), seed=seed)
        data = model.data_preprocessor(batch, training=True)
        model.head.tau_samples = tau
        with torch.autocast('cpu', torch.bfloat16):
            losses = model(data['inputs'], data['data_samples'], mode='loss')
            sum(losses.values()).backward()
        seen.append(counts['stats']['unique_graphs'])
    assert not counts['graph_break']
    # Both masks of encoder, predictor (whose first block gets one query for all) and decoder;
    # reference; autoencoder.
    assert seen[0] <= 2 * 4 + 2
    assert seen[1] == seen[0], 'other masks'
    assert seen[0] < seen[2] <= seen[0] + 2, 'fewer tau samples: the decoder'
    assert seen[2] < seen[3] <= seen[2] + seen[0], 'longer clips: everything'
    assert seen[4] == seen[3]


def _inputs():
    """Every kind of block with what it is given."""
    grid, tokens = TokenGrid(4, 3, 3), torch.randn(2, 4, 9, 32)
    table, still = Rope3D(16)(grid), Rope3D(16)(grid.with_tubelets(1))
    return [
        (CausalBlock(32, 2), (tokens, table)),
        (ContextBlock(32, 2), (tokens, tokens.clone(), table, table)),
        (DiTBlock(32, 2), (torch.randn(8, 9, 32), torch.randn(8, 32), still)),
    ]


@pytest.mark.parametrize('with_cp', ['products', True])
def test_recomputation_is_a_part_of_the_graph(counts, with_cp):
    for block, inputs in _inputs():
        set_recompute([block], with_cp)
        plain = block(*inputs)
        counts.clear()
        block.compile(dynamic=False, backend='eager')
        for _ in range(2):
            out = block(*inputs)
            out.square().sum().backward()
            torch.testing.assert_close(out, plain)
        assert counts['stats']['unique_graphs'] == 1
        assert not counts['graph_break']
        assert all(p.grad is not None for p in block.parameters())


@pytest.mark.parametrize(('number', 'attention'), [(0, 'sdpa'), (0, 'flex'), (1, 'flex')])
@torch.no_grad()  # FlexAttention has no backward pass on a CPU
def test_a_block_is_one_graph_whatever_its_attention(counts, number, attention):
    block, inputs = _inputs()[number]
    set_attention_backend(block, attention)
    plain = block(*inputs)
    counts.clear()  # outside of compiled code, FlexAttention compiles a part of its own
    block.compile(dynamic=False, backend='eager')
    for _ in range(2):
        torch.testing.assert_close(block(*inputs), plain)
    assert counts['stats']['unique_graphs'] == 1
    assert not counts['graph_break']
