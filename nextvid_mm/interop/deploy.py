"""Encoders as functions of tensors alone, for ``torch.export`` and ONNX.

Shape legend: B streams, F video frames, T tubelets, N tokens per tubelet, L layers, h heads, W
tubelets of the window, D channels of a head, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nextvid_mm.checks import check_count
from nextvid_mm.layers import RopeTable, TokenGrid, sdpa
from nextvid_mm.layers.precision import ExactBuffers
from nextvid_mm.models.backbones.base import ClipEncoder
from nextvid_mm.models.backbones.causal_vit import CausalViT


class ClipModule(nn.Module):
    """Clips ``(B, 3, F, height, width)`` in [-1, 1] to tokens ``(B, T, N, C)``.

    Args:
        encoder: any encoder.
    """

    def __init__(self, encoder: ClipEncoder):
        super().__init__()
        self.encoder = encoder.eval()

    def forward(self, clip: Tensor) -> Tensor:
        """Tokens of the last block."""
        return self.encoder.encode(clip)


class StreamingStep(ExactBuffers):
    """One new tubelet of a stream, whose past is handed in and out as tensors.

    As ``StreamingEncoder`` with the same window: equal to the whole clip while it fits, and each
    layer attends to the last ``window`` tubelets after that.

    Args:
        encoder: a causal ``CausalViT``.
        window: tubelets that are attended to, the newest included.
        size: pixels per side of the frames; None takes ``encoder.img_size``.

    Raises:
        ValueError: if the encoder is not causal, or for no window.
    """

    def __init__(self, encoder: CausalViT, window: int = 32, size: int | None = None):
        super().__init__()
        if not (isinstance(encoder, CausalViT) and encoder.causal):
            raise ValueError('StreamingStep needs a CausalViT with causal=True')
        check_count(window, 'window')
        self.encoder, self.window = encoder.eval(), window
        side = (size or encoder.img_size) // encoder.patch_size
        self.grid = TokenGrid(1, side, side)
        still, moved = encoder.rope(self.grid), encoder.rope(self.grid, first_tubelet=1)
        half, pairs = encoder.rope.head_dim // 2, encoder.rope.pairs_per_axis
        channel = torch.arange(2 * half)
        # Time turns the first pairs of a head, and nothing else does.
        self.register_buffer('turns', channel % half < pairs, persistent=False)
        speed = torch.zeros(2 * half, dtype=torch.float64)
        speed[:pairs], speed[half : half + pairs] = encoder.rope.frequency
        self.register_buffer('speed', speed, persistent=False)
        self.register_buffer('sign', torch.where(channel < half, -1.0, 1.0), persistent=False)
        self.register_buffer('cos', still.cos, persistent=False)
        self.register_buffer('sin', still.sin, persistent=False)
        assert torch.equal(still.cos[..., pairs:half], moved.cos[..., pairs:half])

    def start(self, streams: int = 1) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values ``(L, B, h, W * N, D)`` and the number of tubelets seen, before any."""
        encoder = self.encoder
        shape = (encoder.depth, streams, encoder.num_heads, self.window * self.grid.patches)
        width = encoder.embed_dims // encoder.num_heads
        empty = torch.zeros(*shape, width, device=self.cos.device)
        return empty, empty.clone(), torch.tensor(0, device=self.cos.device)

    def forward(
        self, frames: Tensor, keys: Tensor, values: Tensor, seen: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Tokens of a tubelet, and what the next step needs.

        Args:
            frames: ``(B, 3, tubelet_size, size, size)`` in [-1, 1].
            keys: ``(L, B, h, W * N, D)``, from ``start`` or the step before.
            values: likewise.
            seen: tubelets so far, an int64 scalar.

        Returns:
            Tokens ``(B, N, C)``, keys, values and ``seen + 1``.
        """
        encoder: Any = self.encoder
        angle = seen.double() * self.speed
        rope = RopeTable(
            torch.where(self.turns, angle.cos().float(), self.cos),
            torch.where(self.turns, self.sign * angle.sin().float(), self.sin),
        )
        place = torch.arange(keys.shape[3], device=keys.device) // self.grid.patches
        new = (place == seen % self.window)[:, None]
        alive = (place <= seen)[None, None, None]
        stored: list[tuple[Tensor, Tensor]] = []

        def attend(q: Tensor, k: Tensor, v: Tensor, blocks: int) -> Tensor:
            layer = len(stored)
            k = torch.where(new, k.repeat(1, 1, self.window, 1), keys[layer])
            v = torch.where(new, v.repeat(1, 1, self.window, 1), values[layer])
            stored.append((k, v))
            return sdpa(q, k, v, alive)

        x = encoder.patch_embed(encoder.patchify(frames))
        for block in encoder.blocks:
            x = block.forward(x, rope, attend)
        after = [torch.stack(part) for part in zip(*stored, strict=True)]
        return encoder.norm(x)[:, 0], after[0], after[1], seen + 1
