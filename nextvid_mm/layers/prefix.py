"""Attention to a prefix of the keys by fused kernels, forwards and backwards.

Automatic differentiation of a slice of the keys for each tubelet would fill a gradient of full size
with zeros for each, and add them up. Here the gradient of every prefix is added in place.

What is fast differs from device to device. `way_of` is a table, not a clock: two runs on one
machine agree, and a run resumes bit for bit.

Shape legend: B batch, h heads, T blocks (tubelets), Nq and Nk tokens per block, D head dimension.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from .precision import fast_dtype, without_autocast
from .products import attend_by_products, prefixes

aten = torch.ops.aten
HALVES = (torch.bfloat16, torch.float16)


class Way(NamedTuple):
    """How attention is computed on a device."""

    group_tokens: int
    """Frames with fewer tokens attend in groups of about so many: below it, the fixed cost of a
    call is more than the arithmetic that a group wastes on hidden pairs. 1: never."""
    dtype: torch.dtype | None
    """What PyTorch's fused kernel is given under autocast; None: autocast's type."""
    products: bool = False
    """Under autocast in bfloat16, by matrix products instead of that kernel."""


# Measured by `python -m benchmarks attention --groups`. On processors with AVX2, from 10 to 256
# tokens and 7 to 31 frames, the groups are best or within a few percent of it. With AVX512-BF16,
# products take half the time of the kernel, of which the forward pass would be faster in bfloat16
# and the backward pass in float32; for AMX, which speeds up products even more, that was not
# measured. CUDA's kernel takes no mask, so that a group would leave it: by arithmetic, not
# measured.
PLAIN_CPU = Way(256, torch.float32)
BFLOAT16_CPU = Way(64, torch.float32, products=True)
GPU = Way(1, None)
# Asked once: a question to the processor would cut a compiled block into pieces.
CPU = BFLOAT16_CPU if fast_dtype('cpu') is torch.bfloat16 else PLAIN_CPU


def way_of(x: Tensor) -> Way:
    """The way for queries ``x``, by what its device has."""
    return CPU if x.device.type == 'cpu' else GPU


def type_of(q: Tensor) -> torch.dtype:
    """What the fused kernel is given for queries; without autocast, their own type."""
    if q.dtype not in HALVES or not _autocasts(q):
        return q.dtype
    return way_of(q).dtype or q.dtype


def _autocasts(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def group_of(q: Tensor, tokens: int, blocks: int) -> int:
    """Blocks per call, for blocks of so many tokens: about as many in each call."""
    most = max(1, way_of(q).group_tokens // tokens)
    return math.ceil(blocks / math.ceil(blocks / most))


def has_kernel(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> bool:
    """Whether there is a fused kernel whose backward pass can be called by itself."""
    if k.dtype != q.dtype or v.dtype != q.dtype or not q.numel() or not k.numel():
        return False
    if q.device.type == 'cpu':
        return True
    fits = q.device.type == 'cuda' and dtype in HALVES and q.shape[-1] % 8 == 0
    return fits and _has_flash(q.device)


@torch.compiler.assume_constant_result
def _has_flash(device: torch.device) -> bool:
    """Whether a GPU has the flash kernel; V100 and T4, of 7.0 and 7.5, do not."""
    return _capability(device) >= (8, 0)


@cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


def attend_to_prefixes(q: Tensor, k: Tensor, v: Tensor, blocks: int, group: int) -> Tensor:
    """Query block t attends to key blocks 0..t, in groups of ``group`` blocks.

    Args:
        q: ``(B, h, T * Nq, D)``.
        k: ``(B, h, T * Nk, D)``.
        v: as ``k``.
        blocks: T.
        group: blocks per call, 1 computes no hidden pair.

    Returns:
        ``(B, h, T * Nq, D)``, in bfloat16 or the type of the kernel.
    """
    kind = type_of(q)
    needs = torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad)
    if not has_kernel(q, k, v, kind):
        needs = False
    elif way_of(q).products and q.dtype is torch.bfloat16 and _autocasts(q):
        with without_autocast(q.device.type):
            return attend_by_products(q, k, v, blocks, group, needs)
    if needs and (group == 1 or q.device.type == 'cpu'):
        with without_autocast(q.device.type):
            return _Prefixes.apply(q, k, v, blocks, group, kind)
    q, k, v = q.to(kind), k.to(kind), v.to(kind)
    with without_autocast(q.device.type):
        outputs = [
            scaled_dot_product_attention(
                q[:, :, rows], k[:, :, columns], v[:, :, columns], attn_mask=hidden
            )
            for rows, columns, hidden in prefixes(q, k, blocks, group, kind)
        ]
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


class _Prefixes(torch.autograd.Function):
    """``attend_to_prefixes``; the largest prefix's gradient is what the others are added to."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, blocks: int, group: int, kind: torch.dtype
    ) -> Tensor:
        ctx.blocks, ctx.group, ctx.given = blocks, group, q.dtype
        q, k, v = q.to(kind), k.to(kind), v.to(kind)
        kept: list[Tensor] = []
        whole = _like(q) if group < blocks else None
        for rows, columns, hidden in prefixes(q, k, blocks, group, kind):
            out, *rest = _forward(q[:, :, rows], k[:, :, columns], v[:, :, columns], hidden)
            kept += rest
            if whole is not None:
                whole[:, :, rows] = out
        out = out if whole is None else whole
        ctx.save_for_backward(q, k, v, out, *kept)
        ctx.kept = len(rest)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        tensors, kept = saved[:4], saved[4:]
        given = ctx.given
        q, k, v, out, grad = (x.to(tensors[0].dtype) for x in (*tensors, grad))
        calls = list(prefixes(q, k, ctx.blocks, ctx.group, q.dtype))
        grad_q: Any = None
        grad_k: Any = None
        grad_v: Any = None
        for number in reversed(range(len(calls))):
            rows, columns, hidden = calls[number]
            rest = kept[number * ctx.kept : (number + 1) * ctx.kept]
            queries, outs = (x[:, :, rows] for x in (q, out))
            keys, values = (x[:, :, columns] for x in (k, v))
            parts = _backward(grad[:, :, rows], queries, keys, values, outs, *rest, mask=hidden)
            if len(calls) == 1:
                grad_q, grad_k, grad_v = parts
            elif grad_k is None:  # the last group, which has all keys
                grad_q, grad_k, grad_v = _like(q), *parts[1:]
                grad_q[:, :, rows] = parts[0]
            else:
                grad_q[:, :, rows] = parts[0]
                grad_k[:, :, columns] += parts[1]
                grad_v[:, :, columns] += parts[2]
        return grad_q.to(given), grad_k.to(given), grad_v.to(given), None, None, None


def _like(x: Tensor) -> Tensor:
    """Memory for ``(B, h, L, D)`` in which a token's heads lie side by side, as layers want it."""
    return torch.empty_like(x.transpose(1, 2), memory_format=torch.contiguous_format).transpose(
        1, 2
    )


def _forward(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
    """Output ``(B, h, L, D)``, and what else the kernel's backward pass needs."""
    if q.device.type == 'cpu':
        return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, attn_mask=mask)
    out, sums, _, _, _, _, seed, offset, _ = aten._scaled_dot_product_flash_attention(q, k, v)
    return out, sums, seed, offset


def _backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, *kept: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values."""
    if q.device.type == 'cpu':
        return aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, q, k, v, out, *kept, 0.0, False, attn_mask=mask
        )
    sums, seed, offset = kept
    lengths = (None, None, q.shape[2], k.shape[2])
    return aten._scaled_dot_product_flash_attention_backward(
        grad, q, k, v, out, sums, *lengths, 0.0, False, seed, offset
    )
