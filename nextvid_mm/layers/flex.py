"""Prefix attention as one FlexAttention kernel, for GPUs.

Shape legend: B batch, h heads, T blocks (frames), Nq and Nk tokens per block, D head dimension.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from .compile_limit import allow_many_shapes

# From this many blocks on, one kernel is expected to be faster than a call for each block, whose
# queries are then too few to fill a GPU. By arithmetic: not measured.
MANY_BLOCKS = 16
# FlexAttention's kernels need heads at least this wide.
SMALLEST_HEAD = 16
BACKENDS = ('auto', 'sdpa', 'flex')


def flex_prefix_attention(q: Tensor, k: Tensor, v: Tensor, num_blocks: int) -> Tensor:
    """Query block t attends to key blocks 0..t, as in `prefix_attention`.

    On a CPU, FlexAttention has no backward pass.

    Args:
        q: ``(B, h, T * Nq, D)``.
        k: ``(B, h, T * Nk, D)``.
        v: as ``k``.
        num_blocks: T.

    Returns:
        ``(B, h, T * Nq, D)``.
    """
    mask = _staircase(num_blocks, q.shape[2] // num_blocks, k.shape[2] // num_blocks, q.device)
    kernel: Any = _compiled() if q.device.type == 'cuda' else flex_attention
    return kernel(q, k.to(q.dtype), v.to(q.dtype), block_mask=mask)


def use_flex(backend: str, q: Tensor, num_blocks: int) -> bool:
    """Whether a backend name means FlexAttention for these queries.

    Args:
        backend: ``sdpa``, ``flex``, or ``auto``: FlexAttention for long clips on a GPU.
        q: ``(B, h, T * Nq, D)``.
        num_blocks: T.
    """
    if backend != 'auto':
        return backend == 'flex'
    return q.is_cuda and num_blocks >= MANY_BLOCKS and q.shape[-1] >= SMALLEST_HEAD


@torch.compiler.disable
@lru_cache(maxsize=64)
def _staircase(num_blocks: int, nq: int, nk: int, device: torch.device) -> BlockMask:
    """Which tiles of the score matrix are computed, and which of them need a mask."""

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return query // nq >= key // nk

    return create_block_mask(visible, None, None, num_blocks * nq, num_blocks * nk, device=device)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # Past the limit, the kernel gives way to a full matrix of scores without a word.
    allow_many_shapes()
    return torch.compile(flex_attention, dynamic=False)
