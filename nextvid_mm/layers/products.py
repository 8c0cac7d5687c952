"""Attention to prefixes by matrix products, for processors with instructions for bfloat16.

PyTorch's fused kernel for CPUs makes little use of such instructions, batched matrix products do.
The price is that scores lie in memory: a few heads are taken at a time, so that they stay in a
cache. They are rounded to bfloat16 before the softmax, which is computed in float32, and so are
their gradients. What all keys of a head have in common adds the same to all scores of a query and
changes nothing: it is taken off before it costs digits, and so is what all values have in common.

Shape legend: B batch, h heads, R = B * h, T blocks, Nq and Nk tokens per block, D head dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten
# Bytes of scores at a time: what a core has of the last caches, about.
SCORES = 1 << 21
# Weights are kept for the backward pass where a query has at most so many times more keys than a
# head has channels, in as much memory as so many queries; else they are computed again.
KEPT = 4


def prefixes(
    q: Tensor, k: Tensor, blocks: int, group: int, kind: torch.dtype
) -> Iterator[tuple[slice, slice, Tensor | None]]:
    """For each group of blocks its queries, the keys up to its end, and what is hidden of them.

    Args:
        q: ``(..., T * Nq, D)``.
        k: ``(..., T * Nk, D)``.
        blocks: T.
        group: blocks at once.
        kind: type of scores.

    Yields:
        Slices of queries and keys, and what to add to their scores: minus infinity where a pair is
        hidden; None if none is.
    """
    nq, nk = q.shape[-2] // blocks, k.shape[-2] // blocks
    for start in range(0, blocks, group):
        stop = min(start + group, blocks)
        hidden = None
        if stop - start > 1:
            pairs = q.new_full((stop - start, stop), -torch.inf, dtype=kind).triu(start + 1)
            hidden = pairs[:, None, :, None].expand(-1, nq, -1, nk)
            hidden = hidden.reshape((stop - start) * nq, stop * nk)
        yield slice(start * nq, stop * nq), slice(0, stop * nk), hidden


def attend_by_products(
    q: Tensor, k: Tensor, v: Tensor, blocks: int, group: int, needs_gradient: bool
) -> Tensor:
    """Query block t attends to key blocks 0..t, in groups of ``group`` blocks.

    Args:
        q: ``(B, h, T * Nq, D)`` in bfloat16.
        k: ``(B, h, T * Nk, D)``.
        v: as ``k``.
        blocks: T.
        group: blocks per call, 1 computes no hidden pair.
        needs_gradient: something may be kept for the backward pass.

    Returns:
        As ``q``; the heads of a token lie side by side.
    """
    return _Products.apply(q, k.to(q.dtype), v.to(q.dtype), blocks, group, needs_gradient)


def _portions(q: Tensor, k: Tensor) -> list[slice]:
    """Rows of ``(R, L, D)`` whose scores fit a cache."""
    size = max(1, SCORES // (4 * q.shape[1] * k.shape[1]))
    return [slice(start, start + size) for start in range(0, q.shape[0], size)]


def _weights(q: Tensor, k: Tensor, hidden: Tensor | None) -> Tensor:
    """Attention weights ``(R, queries, keys)`` in float32."""
    scale = q.shape[-1] ** -0.5
    # Not bmm, whose results selective recomputation would keep.
    scores = q.new_empty(q.shape[0], q.shape[1], k.shape[1])
    scores = torch.baddbmm(scores, q, k.transpose(1, 2), beta=0, alpha=scale).float()
    if hidden is not None:
        scores += hidden
    return scores.softmax(-1)


def _centred(x: Tensor) -> Tensor:
    """``(R, L, D)`` without what all tokens have in common."""
    return x - x.mean(1, keepdim=True)


def _join(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class _Products(torch.autograd.Function):
    """``attend_by_products``."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: int, group: int, needs_gradient: bool
    ) -> Tensor:
        ctx.shape = B, heads, length, D = q.shape
        q, k, v = (x.reshape(B * heads, -1, D) for x in (q, k, v))
        k = _centred(k)
        out = q.new_empty(B, length, heads, D)
        kept: list[Tensor | None] = []
        for rows, columns, hidden in prefixes(q, k, blocks, group, torch.float32):
            # The kernels copy what is not contiguous, less well once it is transposed.
            given = [x.contiguous() for x in (q[:, rows], k[:, columns], v[:, columns])]
            weights, outputs = [], []
            for part in _portions(*given[:2]):
                queries, keys, values = (x[part] for x in given)
                weights.append(_weights(queries, keys, hidden).to(q.dtype))
                outputs.append(torch.bmm(weights[-1], values))
            out[:, rows] = _join(outputs).view(B, heads, -1, D).transpose(1, 2)
            keeps = needs_gradient and columns.stop <= KEPT * D
            kept.append(_join(weights) if keeps else None)
        ctx.save_for_backward(q, k, v, *kept)
        ctx.blocks, ctx.group = blocks, group
        return out.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        B, heads, _, D = ctx.shape
        v, grad = _centred(v), grad.to(q.dtype).reshape(q.shape)
        grad_q = torch.empty_like(q)
        grad_k: Any = None
        grad_v: Any = None
        calls = list(prefixes(q, k, ctx.blocks, ctx.group, torch.float32))
        for (rows, columns, hidden), weights in zip(calls[::-1], kept[::-1], strict=True):
            queries, grads = (x[:, rows].contiguous() for x in (q, grad))
            keys, values = (x[:, columns].contiguous() for x in (k, v))
            parts = _gradients(queries, keys, values, grads, hidden, weights)
            grad_q[:, rows] = parts[0]
            if grad_k is None:  # the last group, which has all keys; others are added in float32
                grad_k, grad_v = (x.float() if len(calls) > 1 else x for x in parts[1:])
            else:
                grad_k[:, columns] += parts[1]
                grad_v[:, columns] += parts[2]
        scale = D**-0.5
        found = (grad_q.mul_(scale), grad_k.mul_(scale), grad_v)
        return *(x.to(q.dtype).view(B, heads, -1, D) for x in found), None, None, None


def _gradients(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, hidden: Tensor | None, kept: Tensor | None
) -> tuple[Tensor, ...]:
    """Gradients of one group's queries, keys and values, the first two without the scale."""
    found: list[tuple[Tensor, ...]] = []
    for part in _portions(q, k):
        if kept is None:
            weights = _weights(q[part], k[part], hidden)
            rounded = weights.to(q.dtype)
        else:
            rounded = kept[part]
            weights = rounded.float()
        scores = torch.bmm(grad[part], v[part].transpose(1, 2)).float()
        scores = aten._softmax_backward_data(scores, weights, -1, weights.dtype).to(q.dtype)
        found.append(
            (
                torch.bmm(scores, k[part]),
                torch.bmm(scores.transpose(1, 2), q[part]),
                torch.bmm(rounded.transpose(1, 2), grad[part]),
            )
        )
    return tuple(_join(list(parts)) for parts in zip(*found, strict=True))
