"""Operators of a traced step: the products are those that are counted by formulas."""

import pytest
import torch

from benchmarks.step import costs_of
from benchmarks.tracing import StepTracer, Trace, fuse
from benchmarks.workload import Workload, make_batch, mask_sizes

WORKLOAD = Workload('tiny', frames=8, batch=2)


@pytest.fixture(scope='module')
def counted():
    """A step's operators one by one and joined, and the formulas' operations."""
    masks = mask_sizes(make_batch(WORKLOAD))
    eager, fused = StepTracer(WORKLOAD.config(), masks).count(8, 2)
    return eager, fused, costs_of(WORKLOAD, masks)


def total(counted, value, **chosen):
    return sum(
        times * getattr(work, value)
        for work, times in counted.items()
        if all(getattr(work, key) == found for key, found in chosen.items())
    )


def test_products_and_attention_of_all_blocks_are_what_the_formulas_count(counted):
    eager, fused, costs = counted
    for part in ('reference', 'encoder', 'predictor', 'decoder', 'align'):
        assert total(eager, 'flops', part=part) == pytest.approx(costs[part].forward, rel=0.001), (
            part
        )
    # Going back, attention computes the scores again: 10 for 8.
    back = total(eager, 'flops', part='backward')
    attention = total(eager, 'flops', part='backward', kind='attention')
    assert back - attention / 5 == pytest.approx(sum(c.backward for c in costs.values()), rel=0.001)
    assert total(fused, 'flops') == total(eager, 'flops')


def test_joined_operators_move_less_and_compute_the_same(counted):
    eager, fused, _ = counted
    assert 0.3 * total(eager, 'bytes') < total(fused, 'bytes') < 0.8 * total(eager, 'bytes')
    assert sum(fused.values()) < sum(eager.values())
    for kind in ('product', 'attention'):
        assert total(fused, 'bytes', kind=kind) == total(eager, 'bytes', kind=kind)


def test_bytes_are_of_what_is_read_and_written_and_views_are_free():
    x = torch.ones(10, 20)
    with Trace() as trace:
        y = (x.T[:5] * 2).exp()
        x.sum(0)
        y.add_(1)
    names = [(call.work.name, call.work.read, call.work.written) for call in trace.calls]
    assert names == [
        ('mul', 5 * 10 * 4, 200),
        ('exp', 200, 200),
        ('sum', 800, 80),
        ('add_', 200, 200),
    ]
    (first, *_) = fuse(trace.calls)
    assert first.name.startswith('mul+exp')
    assert first.read == 200
