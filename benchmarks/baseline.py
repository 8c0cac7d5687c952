"""The same training step, written the obvious way.

What a good engineer writes who starts from V-JEPA 2's layout (arXiv 2506.09985): masked tokens are
removed, attention is PyTorch's fused kernel, the reference encoder runs once for all masks. But the
three attention patterns are boolean N x N matrices, rotary tables are computed in every layer, the
autoencoder encodes every frame of every clip, and the moving average is a loop over parameters.

It uses the weights of a ``NextVid``, and its losses and gradients are equal to it: only the way
there differs.

Shape legend: B clips, T tubelets, N tokens per tubelet, L = T * N tokens, h heads, D head
dimension, k tau samples, C channels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, scaled_dot_product_attention

from nextvid_mm.flow import draw_flow
from nextvid_mm.layers import ClipBatch, Rope3D, TokenGrid, modulate
from nextvid_mm.models.algorithms import NextVid

DECODERS = ('dense', 'folded')


class DenseBaseline:
    """Losses of a ``NextVid`` with dense masks.

    Args:
        model: whose weights are used; needs a flow head, alignment and ``queries='hidden'``.
        decoder: how its frames are kept apart: ``dense`` by a boolean matrix over all frames, as
            the other two patterns are, or ``folded`` into the batch, which many would think of.
    """

    def __init__(self, model: NextVid, decoder: str = 'dense'):
        if decoder not in DECODERS:
            raise ValueError(f'decoder={decoder!r} is not one of {", ".join(DECODERS)}')
        self.model, self.decoder = model, decoder

    def loss(self, clip: Tensor, batch: ClipBatch) -> dict[str, Tensor]:
        """As ``NextVid.loss``."""
        model = self.model
        grid, patches = model.backbone.grid_of(clip), model.backbone.patchify(clip)
        with torch.no_grad():
            generator = model.target_generator
            target = generator.normalize(generator.encode(clip))[:, 1:]
            features = encode(model.reference.encoder, patches, grid, None)
            features = features.unflatten(1, (grid.tubelets, -1))[:, 1:]
        flow = align = clip.new_zeros(())
        for number, mask in enumerate(batch.masks):
            context = encode(model.backbone, patches, grid, mask.visible)
            z = predict(model.neck, context, grid, mask.visible, mask.queried)
            clean, seeds = take(target, mask.queried), batch.seeds_of(number)
            flow = flow + self.flow_loss(z, clean, grid, mask.queried, seeds)
            projected = model.align_head.proj(z)
            align = align + mse_loss(projected.float(), take(features, mask.queried).float())
        return dict(
            loss_flow=model.head.loss_weight * flow / len(batch.masks),
            loss_align=model.align_head.loss_weight * align / len(batch.masks),
        )

    def flow_loss(
        self, z: Tensor, target: Tensor, grid: TokenGrid, queried: Tensor, seeds: Any
    ) -> Tensor:
        """Unweighted flow loss of conditions ``(B, T, M, C)``."""
        B, T, M, C = target.shape
        k = self.model.head.tau_samples
        draw = draw_flow(seeds, (T, k), (T, k, M, C), like=target)
        data, tau = target[:, :, None], draw.tau[..., None, None]
        h = (1 - tau) * draw.noise + tau * data
        # One clip and tau sample a row, or one frame.
        rows = (B * k, T) if self.decoder == 'dense' else (B * k * T, 1)
        by_sample = h.transpose(1, 2).reshape(*rows, M, C)
        z = z[:, None].expand(-1, k, -1, -1, -1).reshape(*rows, M, -1)
        tau = draw.tau.transpose(1, 2).reshape(rows)
        copies = k if self.decoder == 'dense' else k * T
        patches = queried.repeat_interleave(copies, dim=0)
        output = decode(self.model.head.decoder, by_sample, tau, z, grid, patches)
        velocity = output.reshape(B, k, T, M, C).transpose(1, 2)
        return mse_loss(velocity.float(), (data - draw.noise).float())


def update_reference(model: NextVid, momentum: float) -> None:
    """The moving average, parameter by parameter."""
    pairs = zip(model.reference.encoder.parameters(), model.backbone.parameters(), strict=True)
    with torch.no_grad():
        for mine, other in pairs:
            mine.mul_(momentum).add_(other, alpha=1 - momentum)


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Patches ``index`` of every frame of ``(B, T, N, C)``."""
    B, T, _, C = tokens.shape
    return torch.gather(tokens, 2, index[:, None, :, None].expand(B, T, -1, C))


def frames_of(frames: int, tokens: int, device: torch.device) -> Tensor:
    """Frame number of each of ``frames * tokens`` tokens."""
    return torch.arange(frames, device=device).repeat_interleave(tokens)


def rotate(x: Tensor, rope: Rope3D, grid: TokenGrid, patches: Tensor, first: int = 0) -> Tensor:
    """Rotate ``(B, h, L, D)``, with sines and cosines computed on the spot."""
    time = torch.arange(first, first + grid.tubelets, device=x.device)
    shape = (len(patches), grid.tubelets, patches.shape[1])
    places = (time[None, :, None], patches[:, None] // grid.width, patches[:, None] % grid.width)
    position = torch.stack([place.expand(shape) for place in places], dim=-1).flatten(1, 2)
    angle = (position[..., None] * rope.frequency[0].float()).flatten(-2)
    angle = nn.functional.pad(angle, (0, x.shape[-1] // 2 - angle.shape[-1]))
    angle = torch.cat([angle, angle], dim=-1)[:, None]
    x1, x2 = x.chunk(2, dim=-1)
    turned = torch.cat([-x2, x1], dim=-1)
    return x * angle.cos().to(x.dtype) + turned * angle.sin().to(x.dtype)


def heads(x: Tensor, number: int, parts: int) -> tuple[Tensor, ...]:
    """``(B, L, parts * C)`` to ``parts`` tensors ``(B, h, L, D)``."""
    return x.unflatten(-1, (parts, number, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def join(attention: nn.Module, out: Tensor) -> Tensor:
    """Attention's output ``(B, h, L, D)`` through the layer's projection."""
    return attention.proj(out.transpose(1, 2).flatten(2))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """The fused kernel, in float32 on a CPU, where that is the fast choice."""
    if q.device.type != 'cpu':
        return scaled_dot_product_attention(q, k, v, attn_mask=mask)
    with torch.autocast('cpu', enabled=False):
        return scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask)


def encode(vit: Any, patches: Tensor, grid: TokenGrid, visible: Tensor | None) -> Tensor:
    """Encoder tokens ``(B, L, C)`` of the visible patches."""
    B = len(patches)
    if visible is None:
        visible = torch.arange(grid.patches, device=patches.device).expand(B, -1)
    else:
        patches = take(patches, visible)
    x = vit.patch_embed(patches).flatten(1, 2)
    frame = frames_of(grid.tubelets, visible.shape[1], x.device)
    mask = frame[:, None] >= frame
    for block in vit.blocks:
        q, k, v = heads(block.attn.qkv(block.norm1(x)), block.attn.num_heads, 3)
        q, k = (rotate(part, vit.rope, grid, visible) for part in (q, k))
        x = x + join(block.attn, attend(q, k, v, mask))
        x = x + plain_mlp(block.mlp, block.norm2(x))
    return vit.norm(x)


def predict(
    neck: Any, context: Tensor, grid: TokenGrid, visible: Tensor, queried: Tensor
) -> Tensor:
    """Predictions ``(B, T-1, M, C)`` from encoder tokens of all frames ``(B, L, C)``."""
    K, M, past = visible.shape[1], queried.shape[1], grid.with_tubelets(grid.tubelets - 1)
    context = neck.context_proj(context[:, : past.tubelets * K])
    query_frame = frames_of(past.tubelets, M, context.device) + 1
    mask = query_frame[:, None] > frames_of(past.tubelets, K, context.device)
    x = neck.query.expand(len(context), past.tubelets * M, -1)
    for block in neck.blocks:
        (q,) = heads(block.attn.q(block.norm1(x)), block.attn.num_heads, 1)
        k, v = heads(block.attn.kv(context), block.attn.num_heads, 2)
        q = rotate(q, neck.rope, past, queried, first=1)
        k = rotate(k, neck.rope, past, visible)
        x = x + join(block.attn, attend(q, k, v, mask))
        x = x + plain_mlp(block.mlp, block.norm2(x))
    return neck.norm(x).unflatten(1, (past.tubelets, M))


def decode(dit: Any, h: Tensor, tau: Tensor, z: Tensor, grid: TokenGrid, patches: Tensor) -> Tensor:
    """Decoder output at noisy targets.

    Args:
        dit: a ``FrameDiT``.
        h: ``(R, T, M, C_target)``, rows of T frames that must not see each other.
        tau: ``(R, T)``.
        z: ``(R, T, M, C_condition)``.
        grid: spatial size.
        patches: ``(R, M)``.

    Returns:
        As ``h``.
    """
    T, M = h.shape[1:3]
    row_grid = grid.with_tubelets(T)
    x = dit.target_proj(h) + dit.condition_proj(z)
    condition = dit.time_embed(tau.flatten()).unflatten(0, tau.shape)
    frame = frames_of(T, M, x.device)
    mask = frame[:, None] == frame
    for block in dit.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(block, condition)
        y = modulate(block.norm1(x), shift1, scale1).flatten(1, 2)
        q, k, v = heads(block.attn.qkv(y), block.attn.num_heads, 3)
        q, k = (rotate(part, dit.rope, row_grid, patches) for part in (q, k))
        y = join(block.attn, attend(q, k, v, mask)).unflatten(1, (T, M))
        x = x + gate1 * y
        x = x + gate2 * plain_mlp(block.mlp, modulate(block.norm2(x), shift2, scale2))
    return dit.proj(modulate(dit.norm(x), *modulation(dit, condition)))


def modulation(module: Any, condition: Tensor) -> tuple[Tensor, ...]:
    """Vectors ``(R, T, 1, C)``, which broadcast over the tokens of a frame, from ``(R, T, C)``."""
    ada = module.modulation
    return ada.linear(nn.functional.silu(condition))[:, :, None].chunk(ada.num_chunks, dim=-1)


def plain_mlp(mlp: Any, x: Tensor) -> Tensor:
    """An MLP that keeps everything for the backward pass."""
    return mlp.fc2(mlp.act(mlp.fc1(x)))
