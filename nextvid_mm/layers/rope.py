"""Rotary position embedding over time, height and width.

Rotation: RoFormer (arXiv 2104.09864); split into three axes: V-JEPA 2 (arXiv 2506.09985).

The head dimension is split into a time, a height and a width part of equal, even size; what is left
over is not rotated. Channel pairs are laid out in halves: channel ``i`` of the first half of a head
rotates with channel ``i`` of the second half, so that a rotation is two multiplications: of the
head by cosines, and of its exchanged halves by sines.

Shape legend: B batch, T tubelets, N tokens per tubelet, D head dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .grid import TokenGrid
from .precision import ExactBuffers


class RopeTable(NamedTuple):
    """Cosines and sines of a set of tokens, shared by all layers of a network.

    Both are ``(B or 1, 1, T * N, D)``: the dimension of one broadcasts over heads. In the first
    half of the channels the sine carries the minus sign of the rotation.
    """

    cos: Tensor
    sin: Tensor


class Rope3D(ExactBuffers):
    """Makes the rotation table of any set of tokens on a grid.

    Args:
        head_dim: channels per attention head; even, at least 6.
        base: the longest wavelength is ``2 * pi * base`` positions.
        tiled_frequencies: reproduce the rotation of the released V-JEPA 2 weights, whose code
            repeats the frequencies over the wrong axis, so that the two channels of a pair turn by
            different angles. Only for loading those weights.
        span: stretch rows and columns so that the last of a grid is at position ``span - 1``
            whatever the image size, as V-JEPA 2.1 does; None counts patches.
    """

    def __init__(
        self,
        head_dim: int,
        base: float = 10000.0,
        tiled_frequencies: bool = False,
        span: int | None = None,
    ):
        super().__init__()
        if head_dim % 2 or head_dim < 6:
            raise ValueError(
                f'3D RoPE needs an even head dimension of at least 6 (embed_dims / num_heads), '
                f'found {head_dim}'
            )
        self.head_dim = head_dim
        self.span = span
        self.pairs_per_axis = (head_dim // 3) // 2
        exponent = torch.arange(self.pairs_per_axis, dtype=torch.float64) / self.pairs_per_axis
        frequency = base**-exponent
        first, second = frequency, frequency
        if tiled_frequencies:
            tiled = frequency.repeat(2)
            first, second = tiled[0::2], tiled[1::2]
        self.register_buffer('frequency', torch.stack([first, second]), persistent=False)

    def forward(
        self, grid: TokenGrid, patches: Tensor | None = None, first_tubelet: int = 0
    ) -> RopeTable:
        """Rotation table of the tokens ``patches`` of every tubelet of ``grid``.

        Args:
            grid: time steps and spatial size.
            patches: ``(B, N)`` patch numbers inside a tubelet; None means all patches.
            first_tubelet: time position of the first tubelet of ``grid``.
        """
        table = self._whole(grid, first_tubelet)
        if patches is None:
            return RopeTable(*(part[None, None] for part in table))
        start = torch.arange(grid.tubelets, device=patches.device) * grid.patches
        tokens = (start[:, None] + patches[:, None]).flatten()
        found = (part.index_select(0, tokens) for part in table)
        return RopeTable(*(part.view(len(patches), 1, -1, self.head_dim) for part in found))

    def _whole(self, grid: TokenGrid, first_tubelet: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``(T * N, D)`` of all tokens, in the type that layers compute in."""
        device, kind = self.frequency.device, self.frequency.device.type
        numbers = torch.arange(grid.tubelets * grid.patches, device=device)
        times, patches = numbers // grid.patches + first_tubelet, numbers % grid.patches
        rows, columns = patches // grid.width, patches % grid.width
        if self.span is not None:
            rows = rows * ((self.span - 1) / max(grid.height - 1, 1))
            columns = columns * ((self.span - 1) / max(grid.width - 1, 1))
        position = torch.stack((times, rows, columns), dim=-1)[:, None, :, None]
        angle = (position * self.frequency[:, None]).flatten(-2)  # (T * N, 2, 3 * pairs per axis)
        idle = self.head_dim // 2 - 3 * self.pairs_per_axis
        angle = nn.functional.pad(angle, (0, idle)).flatten(1)
        cos, sin = angle.cos().float(), angle.sin().float()
        sin[:, : self.head_dim // 2].neg_()
        if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
            # Once for all layers, which would have to do it in each.
            return cos.to(torch.get_autocast_dtype(kind)), sin.to(torch.get_autocast_dtype(kind))
        return cos, sin


def split_rotated(packed: Tensor, table: RopeTable, rotated: int) -> tuple[Tensor, ...]:
    """Split the output of a joint projection into its parts and rotate the first of them.

    One function with its own backward pass, because cutting, rotating and joining small tensors
    costs more in automatic differentiation than the arithmetic of the rotation.

    Args:
        packed: ``(B, T * N, parts, heads, D)``, e.g. queries, keys and values.
        table: of the T * N tokens.
        rotated: how many of the parts turn; the others are copied.

    Returns:
        ``parts`` tensors ``(B, heads, T * N, D)``.
    """
    cos, sin = (part.transpose(1, 2)[:, :, None] for part in table)
    if packed.dtype != torch.float64:
        cos, sin = cos.to(packed.dtype), sin.to(packed.dtype)
    return _SplitRotated.apply(packed, cos, sin, rotated)


class _SplitRotated(torch.autograd.Function):
    """``split_rotated`` on tables ``(B or 1, T * N, 1, 1, D)``."""

    @staticmethod
    def forward(
        ctx: Any, packed: Tensor, cos: Tensor, sin: Tensor, rotated: int
    ) -> tuple[Tensor, ...]:
        ctx.rotated = rotated
        ctx.save_for_backward(cos, sin)
        half = packed.shape[-1] // 2  # to roll by it exchanges the halves
        turned = torch.addcmul(
            packed[:, :, :rotated] * cos, packed[:, :, :rotated].roll(half, -1), sin
        )
        # Copied, not viewed: a view would keep the whole of `packed` until the backward pass.
        rest = packed[:, :, rotated:].clone()
        return tuple(part.transpose(1, 2) for x in (turned, rest) for part in x.unbind(2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        cos, sin = ctx.saved_tensors
        B, heads, length, D = grads[0].shape
        packed = grads[0].new_empty(B, length, len(grads), heads, D)
        for part, grad in enumerate(grads):
            packed[:, :, part].copy_(grad.transpose(1, 2))
        turned = packed[:, :, : ctx.rotated]
        swapped = turned.roll(D // 2, -1)
        turned.mul_(cos).addcmul_(swapped, sin.roll(D // 2, -1))  # the transposed rotation
        return packed, None, None, None


def join_tables(first: RopeTable, second: RopeTable, frames: int) -> RopeTable:
    """Table of tokens that stand side by side in every tubelet.

    Args:
        first: of ``(B or 1, 1, T * N, D)`` tokens.
        second: of ``(B or 1, 1, T * M, D)`` tokens.
        frames: T.

    Returns:
        Table of ``T * (N + M)`` tokens, each tubelet's N before its M.
    """
    joined = []
    for parts in zip(first, second, strict=True):
        rows = max(len(part) for part in parts)
        by_frame = [part.unflatten(2, (frames, -1)).expand(rows, -1, -1, -1, -1) for part in parts]
        joined.append(torch.cat(by_frame, dim=3).flatten(2, 3))
    return RopeTable(*joined)
