"""Picture sheets: what went in, what was hidden, what the model made of it.

Shape legend: B clips, T tubelets, H and W patches, M hidden patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nextvid_mm.files import save_picture
from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.backbones.pixels import to_bytes

HIDDEN_GREY = 0.0  # of pixels in [-1, 1]
_CAPTION_HEIGHT = 14
_DIMMED = 0.5  # brightness that is left of frames under the colours of attention


def show_patches(clip: Tensor, visible: Tensor, patch_size: int) -> Tensor:
    """Paint all but the visible patches of every frame grey.

    Args:
        clip: ``(B, 3, T, height, width)`` in [-1, 1].
        visible: ``(B, K)`` patch numbers inside a frame, row by row.
        patch_size: pixels per side.
    """
    height, width = clip.shape[-2] // patch_size, clip.shape[-1] // patch_size
    shown = torch.zeros(clip.shape[0], height * width, device=clip.device)
    shown = shown.scatter(1, visible, 1.0).view(-1, 1, 1, height, width)
    shown = shown.repeat_interleave(patch_size, -2).repeat_interleave(patch_size, -1)
    return torch.where(shown > 0, clip, torch.full_like(clip, HIDDEN_GREY))


def tile_rows(rows: Sequence[tuple[str, Tensor]], zoom: int = 2, gap: int = 0) -> Image.Image:
    """One captioned film strip under the other.

    Args:
        rows: caption and clip ``(3, T, height, width)`` in [-1, 1].
        zoom: enlargement.
        gap: white pixels between frames, which tell where one ends.
    """
    strips = []
    for _, clip in rows:
        frames = to_bytes(clip).permute(1, 2, 3, 0).cpu().numpy()
        frames = frames.repeat(zoom, axis=1).repeat(zoom, axis=2)
        spaced = np.pad(frames, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
        strip = np.concatenate(spaced, axis=1)[:, : spaced.shape[0] * spaced.shape[2] - gap]
        strips.append(strip)
    width, parts = max(strip.shape[1] for strip in strips), []
    for (caption, _), strip in zip(rows, strips, strict=True):
        band = Image.new('RGB', (width, _CAPTION_HEIGHT), 'white')
        ImageDraw.Draw(band).text((2, 1), caption, fill='black')
        white = ((0, 0), (0, width - strip.shape[1]), (0, 0))
        parts += [np.asarray(band), np.pad(strip, white, constant_values=255)]
    return Image.fromarray(np.concatenate(parts))


def generation_sheet(
    model: nn.Module,
    clip: Tensor,
    batch: ClipBatch,
    path: str | Path,
    num_steps: int = 20,
    seed: int = 0,
) -> Path:
    """Write the sheet of ``draw_sheet`` to ``path``."""
    save_picture(draw_sheet(model, clip, batch, num_steps, seed), path)
    return Path(path)


@torch.no_grad()
def draw_sheet(
    model: nn.Module, clip: Tensor, batch: ClipBatch, num_steps: int = 20, seed: int = 0
) -> Image.Image:
    """Draw original, masked and generated frames of some clips.

    The hidden patches of every frame are generated from the visible patches of *earlier* frames
    only; visible patches are shown as they are, as far as the targets resolve them. The first
    tubelet is never generated.

    Args:
        model: a ``NextVid`` with a flow head and targets that decode to pixels.
        clip: ``(B, 3, T, height, width)`` in [-1, 1].
        batch: of which the first masking strategy is used.
        num_steps: solver steps.
        seed: of the noise.
    """
    mask = batch.masks[0]
    backbone, tubelet = model.backbone, model.backbone.tubelet_size
    frames = backbone.grid_of(clip).tubelets - 1
    hidden = backbone.grid_of(clip).patches if mask.queried is None else mask.queried.shape[1]
    shape = (len(clip), frames, hidden, model.target_generator.channels)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(clip)
    generated = model.generate(clip, mask, noise, num_steps)
    masked = clip
    if mask.visible is not None:
        masked = show_patches(clip, mask.visible, backbone.patch_size)
    rows = []
    for number in range(len(clip)):
        for name, video in (('original', clip), ('masked', masked)):
            rows.append((f'{number}: {name}', video[number, :, tubelet::tubelet]))
        rows.append((f'{number}: generated', generated[number, :, ::tubelet]))
    return tile_rows(rows, gap=2)


def overlay_attention(
    clip: Tensor, attention: Tensor, tubelet_size: int, strength: float = 0.8
) -> Tensor:
    """Colour the last frame of every tubelet by the attention on its patches.

    Where there is little attention, the frame is grey and dim; where there is much, it glows.

    Args:
        clip: ``(3, T * tubelet, height, width)`` in [-1, 1].
        attention: ``(T, H, W)``, not negative; only ratios within the clip matter.
        tubelet_size: video frames per tubelet.
        strength: opacity of the colour where attention is highest.

    Returns:
        ``(3, T, height, width)`` in [-1, 1].
    """
    frames = clip[:, tubelet_size - 1 :: tubelet_size]
    size = frames.shape[-2:]
    share = attention[:, None] / attention.max().clamp_min(1e-12)
    share = interpolate(share.float(), size=size, mode='bilinear', align_corners=False)[:, 0]
    share = share.clamp(0, 1)
    colours = torch.from_numpy(colormaps['inferno'](share.numpy())[..., :3]).float()
    colours = colours.permute(3, 0, 1, 2) * 2 - 1
    dim = (frames.float().mean(0, keepdim=True) + 1) * _DIMMED - 1
    return torch.lerp(dim.expand_as(colours), colours, share * strength)
