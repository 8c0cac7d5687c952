"""The context-isolated autoregressive predictor (arXiv 2512.21004, §3.2).

Shape legend: B batch, T tubelets, K visible and M queried tokens per tubelet, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nextvid_mm.layers import (
    ContextBlock,
    FrameCache,
    Rope3D,
    StreamNorm,
    TokenGrid,
    init_transformer,
    set_recompute,
)
from nextvid_mm.registry import MODELS

from .base import Predictor


@MODELS.register_module()
class QFormerPredictor(Predictor):
    """One learnable query, placed by rotary position, reads what came before each tubelet.

    The context is projected to the predictor's width once and then only serves as key and value.

    Args:
        in_channels: channels of the encoder.
        embed_dims: width.
        depth: cross-attention blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``embed_dims``.
        with_cp: recompute blocks in the backward pass: False, ``light``, ``products`` or True,
            see ``set_recompute``.
        init_cfg: mmengine initialisation config.
    """

    rolls_out = True

    def __init__(
        self,
        in_channels: int,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        with_cp: bool | str = False,
        init_cfg: dict | None = None,
    ):
        super().__init__(init_cfg)
        self.embed_dims, self.depth = embed_dims, depth
        self.in_channels, self.out_channels = in_channels, embed_dims
        self.context_proj = nn.Linear(in_channels, embed_dims)
        self.query = nn.Parameter(torch.zeros(embed_dims))
        self.rope = Rope3D(embed_dims // num_heads)
        self.blocks = nn.ModuleList(
            ContextBlock(embed_dims, num_heads, mlp_ratio) for _ in range(depth)
        )
        set_recompute(self.blocks, with_cp)
        self.norm = StreamNorm(embed_dims, eps=1e-6)

    def init_weights(self) -> None:
        """Initialise; the query stays zero."""
        init_transformer(self, self.blocks)
        super().init_weights()

    def forward(
        self, context: Tensor, grid: TokenGrid, visible: Tensor | None, queried: Tensor | None
    ) -> Tensor:
        """Predict the tokens ``queried`` of tubelets 1..T-1, see ``Predictor``."""
        past = grid.with_tubelets(grid.tubelets - 1)
        M = grid.patches if queried is None else queried.shape[1]
        context = self.context_proj(context[:, : past.tubelets])
        context_rope = self.rope(past, visible)
        query_rope = self.rope(past, queried, first_tubelet=1)
        x = self._start().expand(context.shape[0], past.tubelets, M, -1)
        for block in self.blocks:
            x = block(x, context, query_rope, context_rope)
        return self.norm(x)

    def _start(self) -> Tensor:
        """The query, in the type that everything is added to.

        Under autocast float32, also where FSDP has gathered the weights in bfloat16.
        """
        autocast = torch.is_autocast_enabled(self.query.device.type)
        return self.query.float() if autocast else self.query

    @torch.no_grad()
    def predict_next(
        self,
        context: Tensor,
        grid: TokenGrid,
        cache: FrameCache,
        visible: Tensor | None = None,
        queried: Tensor | None = None,
    ) -> Tensor:
        """Predict the tubelet that follows the context, see ``Predictor``."""
        T, next_frame = grid.tubelets, cache.seen + grid.tubelets
        M = grid.patches if queried is None else queried.shape[1]
        context = self.context_proj(context)
        context_rope = self.rope(grid, visible, first_tubelet=cache.seen)
        query_rope = self.rope(grid.with_tubelets(1), queried, first_tubelet=next_frame)
        x = self._start().expand(context.shape[0], 1, M, -1)
        for depth, block in enumerate(self.blocks):
            # Not through __call__: a compiled block would be compiled anew for every tubelet.
            x = block.run(x, context, query_rope, context_rope, cache.context(depth, T))
        cache.advance(T)
        return self.norm(x)

    def make_cache(self, window: int) -> FrameCache:
        """An empty cache for ``predict_next`` that keeps ``window`` tubelets."""
        return FrameCache(self.depth, window)
