"""Attention by products: outputs, gradients, what is kept, and digits that are not lost."""

import pytest
import torch
from dense import autoregressive_mask, dense_attention

from nextvid_mm.layers import products
from nextvid_mm.layers.products import attend_by_products

B, HEADS, FRAMES, NQ, NK, D = 2, 3, 5, 6, 4, 16


def inputs(common=0.0):
    """Queries, keys and values, and the gradient of the output; ``common`` to all keys, values."""
    torch.manual_seed(0)
    sizes = (FRAMES * NQ, FRAMES * NK, FRAMES * NK, FRAMES * NQ)
    q, k, v, grad = (torch.randn(B, HEADS, size, D) for size in sizes)
    shared = common * torch.randn(2, B, HEADS, 1, D)
    leaves = [x.bfloat16() for x in (q, k + shared[0], v + shared[1])]
    return [leaf.requires_grad_() for leaf in leaves], grad.bfloat16()


def errors(leaves, grad, group):
    """Relative errors of output and gradients."""
    mask = autoregressive_mask(FRAMES, NQ, NK)
    exact = [leaf.detach().double().requires_grad_() for leaf in leaves]
    out = dense_attention(*exact, mask)
    expected = out, *torch.autograd.grad(out, exact, grad.double())
    out = attend_by_products(*leaves, FRAMES, group, needs_gradient=True)
    found = out, *torch.autograd.grad(out, leaves, grad)
    assert all(x.dtype is torch.bfloat16 for x in found)
    return [
        float(((a - b).norm() / b.norm()).detach()) for a, b in zip(found, expected, strict=True)
    ]


@pytest.mark.parametrize('group', [1, 2, FRAMES])
@pytest.mark.parametrize('kept', [0, 4])
@pytest.mark.parametrize('scores', [1, 1 << 21])
def test_it_equals_a_dense_mask(monkeypatch, group, kept, scores):
    monkeypatch.setattr(products, 'KEPT', kept)
    monkeypatch.setattr(products, 'SCORES', scores)  # one head after the other, or all at once
    assert max(errors(*inputs(), group)) < 0.01


def test_what_all_keys_and_values_have_in_common_costs_no_digits(monkeypatch):
    leaves, grad = inputs(common=20.0)
    assert max(errors(leaves, grad, 1)[1:3]) < 0.02
    monkeypatch.setattr(products, '_centred', lambda x: x)
    assert max(errors(leaves, grad, 1)[1:3]) > 0.05


def test_weights_are_kept_where_there_are_few_keys(monkeypatch):
    def kept(limit, needs):
        monkeypatch.setattr(products, 'KEPT', limit)
        out = attend_by_products(*inputs()[0], FRAMES, 1, needs)
        saved = out.grad_fn.saved_tensors[3:]
        return [None if x is None else x.shape[-1] for x in saved]

    assert kept(0.5, True) == [4, 8, None, None, None], 'as many keys as half a head is wide'
    assert kept(4, True) == [4, 8, 12, 16, 20]
    assert kept(4, False) == [None] * FRAMES
