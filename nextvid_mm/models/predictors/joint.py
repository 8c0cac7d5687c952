"""Predictors in which context and queries are one sequence.

Shape legend: B batch, T tubelets, K visible and M queried tokens per tubelet, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextvid_mm.layers import (
    CausalBlock,
    Rope3D,
    TokenGrid,
    init_transformer,
    join_tables,
    set_recompute,
)
from nextvid_mm.registry import MODELS

from .base import Predictor


@MODELS.register_module()
class JointPredictor(Predictor):
    """Self-attention over context and queries together: prediction without context isolation.

    The context becomes part of the predictor's hidden state: it is transformed block by block, and
    queries attend to each other. A query still reads nothing it must not: tubelet t of the sequence
    holds the context of t and the queries of ``t + ahead``; attention is frame-wise causal. With
    ``ahead=0, causal=False`` this is the decoder of a masked autoencoder (VideoMAE, arXiv
    2203.12602) or the predictor of V-JEPA (arXiv 2404.08471).

    Args:
        in_channels: channels of the encoder.
        embed_dims: width.
        depth: self-attention blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``embed_dims``.
        ahead: tubelets a query lies after the newest context it may read.
        causal: False lets all tokens of a clip attend to each other; only with ``ahead=0``.
        with_cp: recompute blocks in the backward pass: False, ``light``, ``products`` or True,
            see ``set_recompute``.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        ahead: int = 1,
        causal: bool = True,
        with_cp: bool | str = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        if ahead < 0 or (ahead and not causal):
            raise ValueError(
                f'ahead={ahead}, causal={causal} of JointPredictor: ahead is at least 0, and 0 '
                'without causal attention, where a query would read the frame it predicts'
            )
        self.embed_dims, self.depth = embed_dims, depth
        self.in_channels, self.out_channels = in_channels, embed_dims
        self.ahead, self.causal = ahead, causal
        self.context_proj = nn.Linear(in_channels, embed_dims)
        self.query = nn.Parameter(torch.zeros(embed_dims))
        self.rope = Rope3D(embed_dims // num_heads)
        self.blocks = nn.ModuleList(
            CausalBlock(embed_dims, num_heads, mlp_ratio) for _ in range(depth)
        )
        set_recompute(self.blocks, with_cp)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6)

    def init_weights(self) -> None:
        """Initialise; the query stays zero."""
        init_transformer(self, self.blocks)
        super().init_weights()

    def forward(
        self, context: Tensor, grid: TokenGrid, visible: Tensor | None, queried: Tensor | None
    ) -> Tensor:
        """Predict the tokens ``queried`` of tubelets ahead..T-1, see ``Predictor``."""
        past = grid.with_tubelets(grid.tubelets - self.ahead)
        T, M = past.tubelets, grid.patches if queried is None else queried.shape[1]
        context = self.context_proj(context[:, :T])
        queries = self.query.to(context.dtype).expand(context.shape[0], T, M, -1)
        x = torch.cat([context, queries], dim=2)
        query_rope = self.rope(past, queried, first_tubelet=self.ahead)
        rope = join_tables(self.rope(past, visible), query_rope, T)
        shape = x.shape
        if not self.causal:
            x = x.flatten(1, 2)[:, None]  # one "tubelet" of all tokens: nothing is hidden
        for block in self.blocks:
            x = block(x, rope)
        return self.norm(x.reshape(shape)[:, :, -M:])
