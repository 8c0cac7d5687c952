"""The conditioned flow-matching head and its frame-isolated DiT decoder (arXiv 2512.21004, §3.3).

Shape legend: B batch, T predicted tubelets, k tau samples, F = B * T * k rows (one tubelet each),
M tokens per tubelet, C channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nextvid_mm.flow import draw_flow, integrate, linear_path, velocity_from_clean
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

from .base import Head, check_motion, squared_error

PREDICTIONS = ('velocity', 'clean')


@MODELS.register_module()
class FrameDiT(nn.Module):
    """DiT over one tubelet at a time, conditioned token by token on the aligned ``z``.

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
        with_cp: recompute blocks in the backward pass: False, ``light``, ``products`` or True,
            see ``set_recompute``.
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
        set_recompute(self.blocks, with_cp)
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
        """Table of the tokens of one tubelet, repeated for the ``copies`` tubelets of each clip.

        Time does not matter here: it turns all tokens that meet in a tubelet by the same angle.
        """
        table = self.rope(grid.with_tubelets(1), positions)
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
            x = block(x, condition, rope, *tokens)
        x = self.proj(modulate(self.norm(x), *self.modulation(condition)))
        return x.reshape(h.shape)

    def enter(self, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Tokens of the first block and what every block is given besides, ``(F, M, C)`` each."""
        x = self.target_proj(h) + self.condition_proj(z)[:, :, None]
        return (x.flatten(0, 2),)


@MODELS.register_module()
class CrossSelfDiT(FrameDiT):
    """DiT whose noisy targets attend to each other and to the condition tokens of their tubelet.

    The ablation of the spatially aligned condition: which ``z`` belongs to which target is left for
    attention to find. Arguments as in ``FrameDiT``.
    """

    block_type = CrossDiTBlock

    def enter(self, h: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        """Noisy targets, and condition tokens repeated for every tau sample."""
        tokens = self.condition_proj(z)[:, :, None].expand(-1, -1, h.shape[2], -1, -1)
        return self.target_proj(h).flatten(0, 2), tokens.flatten(0, 2)


class DecoderHead(Head):
    """What heads with a decoder share.

    Args:
        decoder: a ``FrameDiT`` (the default ``type``) or ``CrossSelfDiT`` and its settings
            (``target_channels``, ``condition_channels``, ...).
        loss_weight: weight of the loss (0.5, as the flow loss in the paper).
        init_cfg: mmengine initialisation config.
    """

    generates = True

    def __init__(self, decoder: dict, loss_weight: float = 0.5, init_cfg: dict | None = None):
        super().__init__(decoder.get('target_channels', 0), loss_weight, init_cfg)
        self.decoder: FrameDiT = MODELS.build(dict(type='FrameDiT') | decoder)
        self.in_channels = decoder.get('condition_channels')

    @property
    def trunk(self) -> FrameDiT:
        """The decoder."""
        return self.decoder

    def init_weights(self) -> None:
        """Initialise the decoder, then load ``init_cfg`` if there is one."""
        self.decoder.init_weights()
        super().init_weights()


class FlowPass(NamedTuple):
    """One pass of the decoder; all but the times ``(B, T, k, M, C_target)``."""

    tau: Tensor
    """Times ``(B, T, k)``."""
    data: Tensor
    """Clean targets h1."""
    noise: Tensor
    """Noise h0."""
    position: Tensor
    """What the decoder gets, h_tau."""
    velocity: Tensor
    """What it should answer, h1 - h0."""
    predicted: Tensor
    """What it answers."""


@MODELS.register_module()
class FlowMatchingHead(DecoderHead):
    """Regresses the velocity from noise to target, given the predictor's output at each token.

    Args:
        decoder: as in ``DecoderHead``.
        tau_samples: times drawn per condition and step; the stage table sets it during training.
        loss_weight: weight of the flow loss (0.5 in the paper).
        prediction: the network's output is the ``velocity`` (the paper) or the ``clean`` target,
            turned into a velocity; the latter learns targets with more channels than the decoder
            is wide.
        clean_floor: smallest ``1 - tau`` to divide by with ``prediction='clean'``.
        motion: share of the loss that goes to tokens as far as their targets change from tubelet
            to tubelet, see ``squared_error``: a floor that stands still has none of it.
        init_cfg: mmengine initialisation config.
    """

    def __init__(
        self,
        decoder: dict,
        tau_samples: int = 4,
        loss_weight: float = 0.5,
        prediction: str = 'velocity',
        clean_floor: float = 0.05,
        motion: float = 0.0,
        init_cfg: dict | None = None,
    ):
        super().__init__(decoder, loss_weight, init_cfg)
        if prediction not in PREDICTIONS:
            raise ValueError(
                f'prediction={prediction!r} of FlowMatchingHead is not one of '
                f'{", ".join(PREDICTIONS)}'
            )
        self.tau_samples = tau_samples
        self.prediction, self.clean_floor = prediction, clean_floor
        self.motion = check_motion(motion, 'FlowMatchingHead')

    def loss(
        self,
        z: Tensor,
        target: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        seeds: Any = None,
    ) -> dict[str, Tensor]:
        """``loss_flow``, see ``Head``: averaged over tubelets, tokens and channels."""
        found = self.regress(z, target, grid, positions, seeds)
        flow = squared_error(found.predicted, found.velocity, target, self.motion)
        return dict(loss_flow=self.loss_weight * flow)

    def regress(
        self, z: Tensor, target: Tensor, grid: TokenGrid, positions: Tensor | None, seeds: Any
    ) -> FlowPass:
        """Draw noise and times, and predict the velocities; arguments as of ``loss``."""
        k = self.tau_samples
        _, T, M, C = target.shape
        draw = draw_flow(seeds, (T, k), (T, k, M, C), like=target)
        data = target[:, :, None].expand_as(draw.noise)
        path = linear_path(data.flatten(0, 2), draw.noise.flatten(0, 2), draw.tau.flatten())
        rope = self.decoder.spatial_rope(grid, positions, copies=T * k)
        position, velocity = (p.view_as(draw.noise) for p in (path.position, path.velocity))
        predicted = self.velocity(position, draw.tau, z, rope)
        return FlowPass(draw.tau, data, draw.noise, position, velocity, predicted)

    def velocity(self, h: Tensor, tau: Tensor, z: Tensor, rope: RopeTable) -> Tensor:
        """Velocity at noisy targets, shapes as in ``FrameDiT.forward``."""
        output = self.decoder(h, tau, z, rope)
        if self.prediction == 'velocity':
            return output
        rows = velocity_from_clean(
            output.flatten(0, 2), h.flatten(0, 2), tau.flatten(), self.clean_floor
        )
        return rows.view_as(h)

    @torch.no_grad()
    def sample(
        self,
        z: Tensor,
        noise: Tensor,
        grid: TokenGrid,
        positions: Tensor | None = None,
        num_steps: int = 20,
        solver: str = 'euler',
    ) -> Tensor:
        """Generate targets, see ``Head``."""
        T = z.shape[1]
        rope = self.decoder.spatial_rope(grid, positions, copies=T)

        def velocity(h: Tensor, tau: Tensor) -> Tensor:
            times = tau[:, None, None].expand(-1, T, 1)
            return self.velocity(h[:, :, None], times, z, rope)[:, :, 0].to(h.dtype)

        return integrate(velocity, noise, num_steps, solver)
