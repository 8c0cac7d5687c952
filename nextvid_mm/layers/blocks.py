"""Transformer, cross-attention and DiT blocks, all pre-norm, and how they are initialised.

Shape legend: B batch, T tubelets, N tokens per tubelet, C channels.
"""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from timm.layers import DropPath, Mlp
from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from .attention import Attend, ContextAttention, FrameAttention
from .precision import ExactBuffers
from .rope import RopeTable

RECOMPUTED = (False, 'light', 'products', True)
aten = torch.ops.aten
# What with_cp='products' keeps: what matrix products and attention have made.
KEPT = [
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.higher_order.flex_attention,
]
# Hooks on what is kept (a memory plan's, or those that move it to the host) are to see it all;
# older releases of PyTorch do not ask.
_HOOKS = 'respect_saved_tensors_hooks'
_SEEN = {_HOOKS: True} if _HOOKS in inspect.signature(checkpoint).parameters else {}


class TimestepEmbed(ExactBuffers):
    """Sinusoids of the flow time, then a two-layer MLP.

    Args:
        dim: output channels.
        frequency_dim: number of sinusoids, even.
        scale: the time in [0, 1] is multiplied by this, so that a schedule made for diffusion
            steps 0..1000 keeps its resolution (the paper's timestep scale).
    """

    def __init__(self, dim: int, frequency_dim: int = 256, scale: float = 1000.0):
        super().__init__()
        self.scale = scale
        half = frequency_dim // 2
        frequency = torch.exp(-math.log(10000.0) * torch.arange(half) / half)
        self.register_buffer('frequency', frequency, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * half, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, tau: Tensor) -> Tensor:
        """``(B,)`` times in [0, 1] to ``(B, C)``."""
        angle = self.scale * tau[:, None] * self.frequency
        return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1).to(self.mlp[0].weight.dtype))


class AdaLN(nn.Module):
    """``num_chunks`` modulation vectors from a condition; zero at the start (adaLN-Zero).

    Args:
        dim: channels of condition and of each vector.
        num_chunks: 6 in a block (shift, scale, gate of two branches), 2 before the output.
    """

    def __init__(self, dim: int, num_chunks: int):
        super().__init__()
        self.num_chunks = num_chunks
        self.linear = nn.Linear(dim, num_chunks * dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, condition: Tensor) -> tuple[Tensor, ...]:
        """``(B, C)`` to vectors ``(B, 1, C)`` that broadcast over tokens."""
        return self.linear(nn.functional.silu(condition))[:, None].chunk(self.num_chunks, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x * (1 + scale) + shift``."""
    return torch.addcmul(shift, x, 1 + scale)


class LeanMlp(Mlp):
    """timm's ``Mlp`` that can recompute its activation in the backward pass.

    The activation function is cheap but its output, four times as wide as a token, is the largest
    tensor a block keeps. With ``recompute``, only its input is kept: about a third less memory per
    block for the price of one more pass of the activation function (no matrix product is repeated).

    Args:
        dim: channels C of input and output.
        hidden: channels in between.
    """

    def __init__(self, dim: int, hidden: int):
        super().__init__(dim, hidden)
        self.recompute = False

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C) -> (..., C)``."""
        if not (self.recompute and is_grad_enabled()):
            return super().forward(x)
        return checkpoint(
            lambda hidden: self.fc2(self.act(hidden)),
            self.fc1(x),
            use_reentrant=False,
            preserve_rng_state=not isinstance(self.fc2, nn.Linear),  # an update may have dropout
            determinism_check='none',
        )


class Block(nn.Module):
    """A block that can compute in the backward pass what it has not kept, see `set_recompute`.

    Write ``run``. Recomputation lies inside of the block, so that a compiler sees it, and a sharded
    block is gathered once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recompute: bool | str = False

    @abstractmethod
    def run(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the block, and keep for the backward pass what that needs."""

    def forward(self, *inputs: Any) -> Tensor:
        """``run``, whose arguments these are."""
        if self.recompute in (False, 'light') or not is_grad_enabled():
            return self.run(*inputs)
        if self.recompute is True:
            return checkpoint(self.run, *inputs, use_reentrant=False)
        return checkpoint(
            self._run_alike, *inputs, use_reentrant=False, context_fn=_keep_products, **_SEEN
        )

    def _run_alike(self, x: Tensor, *rest: Any) -> Tensor:
        """``run`` with the same operators each time, by which the backward pass finds what is kept.

        Autocast would cast a weight once for several passes, and once more in the backward pass.
        """
        kind = x.device.type
        if not (torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)):
            return self.run(x, *rest)
        with torch.autocast(kind, torch.get_autocast_dtype(kind), cache_enabled=False):
            return self.run(x, *rest)


def _keep_products() -> Any:
    return create_selective_checkpoint_contexts(KEPT)


class CausalBlock(Block):
    """Encoder block: frame-wise causal self-attention, then an MLP.

    Args:
        dim: channels.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
        drop_path: probability of skipping a branch for a sample.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = FrameAttention(dim, num_heads, causal=True)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = LeanMlp(dim, int(dim * mlp_ratio + 0.5))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def run(self, x: Tensor, rope: RopeTable, attend: Attend | None = None) -> Tensor:
        """``(B, T, N, C) -> (B, T, N, C)``; ``attend`` as in ``FrameAttention``."""
        x = x + self.drop_path(self.attn(self.norm1(x), rope, attend))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class StreamNorm(nn.LayerNorm):
    """A ``LayerNorm`` that takes a float32 stream with weights gathered in bfloat16 (FSDP).

    Autocast does that on a GPU; on a CPU the types would have to agree.
    """

    def forward(self, x: Tensor) -> Tensor:
        """``(..., C) -> (..., C)``."""
        if x.dtype is not torch.float32:
            return super().forward(x)
        weight, bias = (value.to(x.dtype) for value in (self.weight, self.bias))
        return nn.functional.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class ContextBlock(Block):
    """Predictor block: queries read earlier tubelets of a fixed context, then an MLP.

    Queries never attend to each other and the context is never changed.

    Args:
        dim: channels of queries and context.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = StreamNorm(dim, eps=1e-6)
        self.attn = ContextAttention(dim, num_heads)
        self.norm2 = StreamNorm(dim, eps=1e-6)
        self.mlp = LeanMlp(dim, int(dim * mlp_ratio + 0.5))

    def run(
        self,
        x: Tensor,
        context: Tensor,
        query_rope: RopeTable,
        context_rope: RopeTable,
        attend: Attend | None = None,
    ) -> Tensor:
        """Queries ``(B, T, Nq, C)`` of tubelets 1..T, context ``(B, T, Nk, C)`` of tubelets 0..T-1.

        ``attend`` as in ``ContextAttention``.
        """
        x = x + self.attn(self.norm1(x), context, query_rope, context_rope, attend)
        return x + self.mlp(self.norm2(x))


class DiTBlock(Block):
    """Decoder block: frame-isolated self-attention and an MLP, both modulated by the flow time.

    Args:
        dim: channels.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.attn = FrameAttention(dim, num_heads, causal=False)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False)
        self.mlp = LeanMlp(dim, int(dim * mlp_ratio + 0.5))
        self.modulation = AdaLN(dim, 6)

    def run(self, x: Tensor, condition: Tensor, rope: RopeTable) -> Tensor:
        """One tubelet a row: ``(F, N, C)`` tokens and ``(F, C)`` conditions to ``(F, N, C)``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        y = self.attn(modulate(self.norm1(x), shift1, scale1)[:, None], rope)[:, 0]
        x = x + gate1 * y
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class CrossDiTBlock(Block):
    """Decoder block that reads the condition by attention instead of having it on its channels.

    Noisy targets of a tubelet attend to each other, then to the condition tokens of theirs; the
    three branches are modulated by the flow time.

    Args:
        dim: channels of targets and condition tokens.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (
            nn.LayerNorm(dim, eps=1e-6, elementwise_affine=False) for _ in range(3)
        )
        self.attn = FrameAttention(dim, num_heads, causal=False)
        self.cross = ContextAttention(dim, num_heads)
        self.mlp = LeanMlp(dim, int(dim * mlp_ratio + 0.5))
        self.modulation = AdaLN(dim, 9)

    def run(self, x: Tensor, condition: Tensor, rope: RopeTable, tokens: Tensor) -> Tensor:
        """One tubelet a row.

        Args:
            x: noisy targets ``(F, N, C)``.
            condition: of the modulation ``(F, C)``.
            rope: positions of targets and condition tokens, which are the same.
            tokens: condition tokens ``(F, N, C)``.

        Returns:
            ``(F, N, C)``.
        """
        shift, scale, gate = zip(*self._branches(condition), strict=True)
        y = modulate(self.norm1(x), shift[0], scale[0])[:, None]
        x = x + gate[0] * self.attn(y, rope)[:, 0]
        y = modulate(self.norm2(x), shift[1], scale[1])[:, None]
        # With a single block of keys, attention to "earlier tubelets" is plain cross-attention.
        x = x + gate[1] * self.cross(y, tokens[:, None], rope, rope)[:, 0]
        return x + gate[2] * self.mlp(modulate(self.norm3(x), shift[2], scale[2]))

    def _branches(self, condition: Tensor) -> list[tuple[Tensor, ...]]:
        """Shift, scale and gate of each branch."""
        vectors = self.modulation(condition)
        return [vectors[i : i + 3] for i in (0, 3, 6)]


def set_recompute(blocks: Iterable[nn.Module], with_cp: bool | str) -> None:
    """Set how much of ``blocks`` is computed again in the backward pass.

    Args:
        blocks: of a network.
        with_cp: False keeps everything. ``light`` recomputes activation functions of the MLPs only;
            ``products`` all but matrix products and attention, which are what takes time; True
            recomputes whole blocks, which costs a second forward pass.

    Raises:
        ValueError: for another value.
    """
    if with_cp not in RECOMPUTED:
        raise ValueError(f'with_cp={with_cp!r} is not one of {", ".join(map(repr, RECOMPUTED))}')
    for block in blocks:
        for module in block.modules():
            if isinstance(module, LeanMlp):
                module.recompute = with_cp == 'light'
            elif isinstance(module, Block):
                module.recompute = with_cp


def init_transformer(network: nn.Module, blocks: nn.ModuleList, std: float = 0.02) -> None:
    """Truncated normal linears, zero biases.

    The last linear of each residual branch is scaled down by the square root of twice its depth,
    as in V-JEPA (arXiv 2404.08471).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for depth, block in enumerate(blocks, start=1):
        for linear in (block.attn.proj, block.mlp.fc2):
            linear.weight.data.div_((2.0 * depth) ** 0.5)
