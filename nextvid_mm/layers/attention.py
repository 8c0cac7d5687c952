"""The attention patterns of NExT-Vid as structure, not boolean matrices (arXiv 2512.21004, §3).

Tokens are sorted by tubelet, so "what tubelet t may see" is a *prefix* of the keys, and a slice
does the work of a mask:

* frame-wise causal (encoder): query block t against key blocks 0..t of the same tokens;
* autoregressive (predictor): the same call, with queries of tubelets 1..T-1 against the context of
  tubelets 0..T-2, so that query block t (tubelet t + 1) sees tubelets 0..t;
* frame-isolated (decoder): tubelets folded into the batch, plain full attention.

Shape legend: B batch, h heads, T blocks (tubelets), Nq and Nk tokens per block, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch import _dynamo as dynamo
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from .precision import without_autocast
from .prefix import attend_to_prefixes, group_of, type_of
from .rope import RopeTable, split_rotated

# What meets what: a function of queries, keys, values and the number of query blocks, such as
# `prefix_attention` or one that reads from a cache.
Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor, int], Tensor]

# From this many blocks on, one kernel is expected to be faster than a call for each block, whose
# queries are then too few to fill a GPU. By arithmetic: not measured.
MANY_BLOCKS = 16
# FlexAttention's kernels need heads at least this wide.
SMALLEST_HEAD = 16
BACKENDS = ('auto', 'sdpa', 'flex')
# Shapes one function is compiled for: tubelets, mask strategies and tau samples multiply.
COMPILED_SHAPES = 64


def sdpa(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention in the types that are fast for the device, see ``way_of``.

    Args:
        q: ``(B, h, L, D)``.
        k: ``(B, h, M, D)``.
        v: as ``k``.
        mask: boolean, of pairs that may meet; broadcasts to ``(B, h, L, M)``.
    """
    if mask is None:
        return attend_to_prefixes(q, k, v, blocks=1, group=1)
    kind = type_of(q)
    with without_autocast(q.device.type):
        return scaled_dot_product_attention(q.to(kind), k.to(kind), v.to(kind), attn_mask=mask)


def prefix_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    num_blocks: int,
    group: int | None = None,
    backend: str = 'sdpa',
) -> Tensor:
    """Query block t attends to key blocks 0..t, and to nothing else.

    Blocks are taken in groups of ``group``: a group attends to the keys up to its own end, with a
    mask only over its own staircase. ``group=1`` computes no hidden pair at all; larger groups make
    fewer calls, which is faster while a tubelet has few tokens. Gradients are added in place.

    Args:
        q: ``(B, h, T * Nq, D)``.
        k: ``(B, h, T * Nk, D)``.
        v: as ``k``.
        num_blocks: T.
        group: blocks per call; None chooses by tokens per block.
        backend: ``sdpa`` as described; ``flex`` for one FlexAttention kernel; ``auto`` for that
            kernel where clips are long and on a GPU.

    Returns:
        ``(B, h, T * Nq, D)``.
    """
    if backend == 'auto':
        suits = q.is_cuda and num_blocks >= MANY_BLOCKS and q.shape[-1] >= SMALLEST_HEAD
        backend = 'flex' if suits else 'sdpa'
    if backend == 'flex':
        return flex_prefix_attention(q, k, v, num_blocks)
    if group is None:
        group = group_of(q, max(q.shape[2], k.shape[2]) // num_blocks, num_blocks)
    return attend_to_prefixes(q, k, v, num_blocks, min(group, num_blocks))


class FrameAttention(nn.Module):
    """Multi-head self-attention of tokens on a grid: frame-wise causal or frame-isolated.

    Args:
        dim: channels.
        num_heads: heads; must divide ``dim``.
        causal: True attends to own and earlier tubelets, False to the own one only.
    """

    def __init__(self, dim: int, num_heads: int, causal: bool):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.causal = causal
        self.backend = 'auto'
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rope: RopeTable, attend: Attend | None = None) -> Tensor:
        """``(B, T, N, C) -> (B, T, N, C)``.

        ``rope`` holds ``T * N`` tokens if causal; if isolated, the N tokens of one tubelet, because
        a turn by the tubelet's time is the same for all that meet and cancels out. ``attend``
        replaces `prefix_attention` in a causal layer, to read earlier tubelets from a cache.
        """
        B, T, N, _ = x.shape
        blocks, rows = (T, B) if self.causal else (1, B * T)
        packed = self.qkv(x).reshape(rows, blocks * N, 3, self.num_heads, -1)
        q, k, v = split_rotated(packed, rope, rotated=2)
        if self.causal:
            out = (
                attend(q, k, v, T) if attend else prefix_attention(q, k, v, T, backend=self.backend)
            )
        else:
            out = sdpa(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(B, T, N, -1))


class ContextAttention(nn.Module):
    """Multi-head cross-attention of queries to the context of strictly earlier tubelets (§3.2).

    Args:
        dim: channels of queries and context.
        num_heads: heads; must divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        check_heads(dim, num_heads)
        self.num_heads = num_heads
        self.backend = 'auto'
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        query_rope: RopeTable,
        context_rope: RopeTable,
        attend: Attend | None = None,
    ) -> Tensor:
        """Queries of tubelets 1..T against the context of tubelets 0..T-1.

        Args:
            x: ``(B, T, Nq, C)``, queries of tubelets 1..T.
            context: ``(B, T, Nk, C)``, encoder tokens of tubelets 0..T-1.
            query_rope: positions of the queries.
            context_rope: positions of the context.
            attend: replaces `prefix_attention`, to read earlier context from a cache; the context
                given here may then have another number of tubelets than the queries.

        Returns:
            ``(B, T, Nq, C)``.
        """
        B, T, nq, _ = x.shape
        q = self.q(x).reshape(B, T * nq, 1, self.num_heads, -1)
        kv = self.kv(context).flatten(1, 2).unflatten(-1, (2, self.num_heads, -1))
        (q,) = split_rotated(q, query_rope, rotated=1)
        k, v = split_rotated(kv, context_rope, rotated=1)
        out = attend(q, k, v, T) if attend else prefix_attention(q, k, v, T, backend=self.backend)
        return self.proj(out.transpose(1, 2).reshape(B, T, nq, -1))


def set_attention_backend(module: nn.Module, backend: str) -> None:
    """Choose the implementation of prefix attention in every layer of ``module``.

    Args:
        module: networks with `FrameAttention` and `ContextAttention` layers.
        backend: ``sdpa``: a call for every tubelet or group of them; ``flex``: one FlexAttention
            kernel, for GPUs; ``auto``: by device and number of tubelets.

    Raises:
        ValueError: for another name.
    """
    if backend not in BACKENDS:
        raise ValueError(f'attention={backend!r} is not one of {", ".join(BACKENDS)}')
    for layer in attention_layers(module):
        layer.backend = backend


def attention_layers(module: nn.Module) -> list[FrameAttention | ContextAttention]:
    """The layers of ``module`` that have a ``backend``."""
    return [m for m in module.modules() if isinstance(m, FrameAttention | ContextAttention)]


def check_heads(dim: int, num_heads: int) -> None:
    """Raise a clear error unless the heads divide the width."""
    if dim % num_heads:
        raise ValueError(f'num_heads={num_heads} does not divide the width embed_dims={dim}')


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
    # A compiled block has its mask built inside; a look-up in a cache would cut it into pieces.
    compiles = torch.compiler.is_compiling()
    build: Callable[..., BlockMask] = block_mask if compiles else _cached_block_mask
    mask = build(num_blocks, q.shape[2] // num_blocks, k.shape[2] // num_blocks, q.device)
    alone = q.device.type == 'cuda' and not compiles
    kernel: Any = _compiled() if alone else flex_attention
    return kernel(q, k.to(q.dtype), v.to(q.dtype), block_mask=mask)


def block_mask(num_blocks: int, nq: int, nk: int, device: torch.device) -> BlockMask:
    """Which tiles of the score matrix are computed, and which of them need a mask."""

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return query // nq >= key // nk

    return create_block_mask(visible, None, None, num_blocks * nq, num_blocks * nk, device=device)


_cached_block_mask = lru_cache(maxsize=64)(block_mask)


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # Past the limit, the kernel gives way to a full matrix of scores without a word.
    allow_many_shapes()
    return torch.compile(flex_attention, dynamic=False)


def allow_many_shapes() -> None:
    """Raise PyTorch's limit of eight shapes, past which it stops compiling without a word."""
    dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, COMPILED_SHAPES)


@contextmanager
def run_eagerly(module: nn.Module) -> Iterator[None]:
    """Compile nothing within, and attend by SDPA; afterwards all is as before.

    Compiled blocks would be compiled again for every new shape. FlexAttention without its compiled
    kernel would hold the whole matrix of scores in memory, so that it must be replaced, too.

    Args:
        module: networks to be run.
    """
    layers = attention_layers(module)
    backends = [layer.backend for layer in layers]
    for layer in layers:
        layer.backend = 'sdpa'
    try:
        with torch.compiler.set_stance('force_eager'):
            yield
    finally:
        for layer, backend in zip(layers, backends, strict=True):
            layer.backend = backend
