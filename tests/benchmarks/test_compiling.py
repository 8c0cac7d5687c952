"""Graphs, breaks and recompilations of compiled parts, over the switch of stages."""

import pytest
import torch
from torch._dynamo.utils import counters

from benchmarks.compiling import count_compilations, recompilations
from benchmarks.workload import Workload, build_model, make_batch
from nextvid_mm.layers import CausalBlock, Rope3D, TokenGrid, set_attention_backend
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


@pytest.mark.parametrize('attention', ['sdpa', 'flex'])
@torch.no_grad()  # FlexAttention has no backward pass on a CPU
def test_a_block_is_one_graph_whatever_its_attention(counts, attention):
    block, rope = CausalBlock(32, 2), Rope3D(16)
    set_attention_backend(block, attention)
    x, table = torch.randn(2, 4, 9, 32), rope(TokenGrid(4, 3, 3))
    plain = block(x, table)
    counts.clear()  # outside of compiled code, FlexAttention compiles a part of its own
    block.compile(dynamic=False, backend='eager')
    for _ in range(2):
        torch.testing.assert_close(block(x, table), plain)
    assert counts['stats']['unique_graphs'] == 1
    assert not counts['graph_break']
