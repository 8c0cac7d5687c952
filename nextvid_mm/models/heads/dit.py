"""The frame-isolated DiT decoder (arXiv 2512.21004, §3.3).

Shape legend: B batch, T predicted frames, k tau samples, F = B * T * k rows (one frame each),
M tokens per frame, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nextvid_mm.layers import (
    AdaLN,
    CrossDiTBlock,
    DiTBlock,
    Rope3D,
    RopeTable,
    TimestepEmbed,
    TokenGrid,
    init_transformer,
    modulate,
    set_recompute,
)
from nextvid_mm.registry import MODELS


@MODELS.register_module()
class FrameDiT(nn.Module):
    """DiT over one frame at a time, conditioned token by token on the aligned ``z``.

    ``[z ; h]`` concatenated on channels then projected is the sum of two projections: z is
    projected once and broadcast over tau samples.

    Args:
        target_channels: channels of a target token.
        condition_channels: channels of ``z``.
        embed_dims: width.
        depth: DiT blocks.
        num_heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``embed_dims``.
        timestep_scale: factor on tau before its sinusoids.
        with_cp: recompute blocks in the backward pass: False, ``light`` or True, see
            ``set_recompute``.
    """

    block_type: type[nn.Module] = DiTBlock

    def __init__(
        self,
        target_channels: int,
        condition_channels: int,
        embed_dims: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        timestep_scale: float = 1000.0,
        with_cp: bool | str = False,
    ):
        super().__init__()
        self.condition_proj = nn.Linear(condition_channels, embed_dims)
        self.target_proj = nn.Linear(target_channels, embed_dims, bias=False)
        self.time_embed = TimestepEmbed(embed_dims, scale=timestep_scale)
        self.rope = Rope3D(embed_dims // num_heads)
        self.blocks = nn.ModuleList(
            self.block_type(embed_dims, num_heads, mlp_ratio) for _ in range(depth)
        )
        self.with_cp = set_recompute(self.blocks, with_cp)
        self.norm = nn.LayerNorm(embed_dims, eps=1e-6, elementwise_affine=False)
        self.modulation = AdaLN(embed_dims, 2)
        self.proj = nn.Linear(embed_dims, target_channels)

    def init_weights(self) -> None:
        """Initialise; modulations and output start at zero, so every block starts as identity."""
        init_transformer(self, self.blocks)
        zeroed = [m.linear for m in self.modules() if isinstance(m, AdaLN)] + [self.proj]
        for linear in zeroed:
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def spatial_rope(self, grid: TokenGrid, positions: Tensor | None, copies: int) -> RopeTable:
        """Table of the tokens of one frame, repeated for the ``copies`` frames of each clip.

        Time does not matter here: it turns all tokens that meet in a frame by the same angle.
        """
        table = self.rope(grid.with_frames(1), positions)
        if positions is None:
            return table
        return RopeTable(*(part.repeat_interleave(copies, dim=0) for part in table))

    def forward(self, h: Tensor, tau: Tensor, z: Tensor, rope: RopeTable) -> Tensor:
        """Output at noisy targets.

        Args:
            h: ``(B, T, k, M, C_target)``.
            tau: ``(B, T, k)``.
            z: condition ``(B, T, M, C_condition)``.
            rope: from ``spatial_rope`` with ``copies = T * k``.

        Returns:
            As ``h``.
        """
        x, *tokens = self.enter(h, z)
        condition = self.time_embed(tau.flatten())
        for block in self.blocks:
            if self.with_cp and torch.is_grad_enabled():
                x = checkpoint(block, x, condition, rope, *tokens, use_reentrant=False)
            else:
                x = block(x, condition, rope, *tokens)
        x = self.proj(modulate(self.norm(x), *self.modulation(condition)))
        return x.reshape(h.shape)

    def enter(self, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Tokens of the first block and what every block is given besides, ``(F, M, C)`` each."""
        x = self.target_proj(h) + self.condition_proj(z)[:, :, None]
        return (x.flatten(0, 2),)


@MODELS.register_module()
class CrossSelfDiT(FrameDiT):
    """DiT whose noisy targets attend to each other and to the condition tokens of their frame.

    The ablation of the spatially aligned condition: which ``z`` belongs to which target is left for
    attention to find. Arguments as in ``FrameDiT``.
    """

    block_type = CrossDiTBlock

    def enter(self, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Noisy targets, and condition tokens repeated for every tau sample."""
        tokens = self.condition_proj(z)[:, :, None].expand(-1, -1, h.shape[2], -1, -1)
        return self.target_proj(h).flatten(0, 2), tokens.flatten(0, 2)


def build_decoder(settings: dict) -> FrameDiT:
    """Build a head's decoder; without ``type`` it is a ``FrameDiT``."""
    return MODELS.build(dict(type='FrameDiT') | settings)
