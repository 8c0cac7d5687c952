"""Transformer, cross-attention and DiT blocks, all pre-norm.

Shape legend: B batch, T frames, N tokens per frame, C channels.
"""

from __future__ import annotations

from timm.layers import DropPath
from torch import Tensor, nn

from .adaln import AdaLN, modulate
from .attention import Attend, ContextAttention, FrameAttention
from .recompute import LeanMlp
from .rope import RopeTable


class CausalBlock(nn.Module):
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

    def forward(self, x: Tensor, rope: RopeTable, attend: Attend | None = None) -> Tensor:
        """``(B, T, N, C) -> (B, T, N, C)``; ``attend`` as in ``FrameAttention``."""
        x = x + self.drop_path(self.attn(self.norm1(x), rope, attend))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class ContextBlock(nn.Module):
    """Predictor block: queries read earlier frames of a fixed context, then an MLP.

    Queries never attend to each other and the context is never changed.

    Args:
        dim: channels of queries and context.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = ContextAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = LeanMlp(dim, int(dim * mlp_ratio + 0.5))

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        query_rope: RopeTable,
        context_rope: RopeTable,
        attend: Attend | None = None,
    ) -> Tensor:
        """Queries ``(B, T, Nq, C)`` of frames 1..T, context ``(B, T, Nk, C)`` of frames 0..T-1.

        ``attend`` as in ``ContextAttention``.
        """
        x = x + self.attn(self.norm1(x), context, query_rope, context_rope, attend)
        return x + self.mlp(self.norm2(x))


class DiTBlock(nn.Module):
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

    def forward(self, x: Tensor, condition: Tensor, rope: RopeTable) -> Tensor:
        """One frame a row: ``(F, N, C)`` tokens and ``(F, C)`` conditions to ``(F, N, C)``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(condition)
        y = self.attn(modulate(self.norm1(x), shift1, scale1)[:, None], rope)[:, 0]
        x = x + gate1 * y
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class CrossDiTBlock(nn.Module):
    """Decoder block that reads the condition by attention instead of having it on its channels.

    Noisy targets of a frame attend to each other, then to the condition tokens of their frame; the
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

    def forward(self, x: Tensor, condition: Tensor, rope: RopeTable, tokens: Tensor) -> Tensor:
        """One frame a row.

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
        # With a single block of keys, attention to "earlier frames" is plain cross-attention.
        x = x + gate[1] * self.cross(y, tokens[:, None], rope, rope)[:, 0]
        return x + gate[2] * self.mlp(modulate(self.norm3(x), shift[2], scale[2]))

    def _branches(self, condition: Tensor) -> list[tuple[Tensor, ...]]:
        """Shift, scale and gate of each branch."""
        vectors = self.modulation(condition)
        return [vectors[i : i + 3] for i in (0, 3, 6)]
