"""What a model makes of the videos that it was trained on: no labels and no probe are needed.

Shape legend: B clips, T tubelets, H and W patches, N = H * W tokens per tubelet, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nextvid_mm.datasets.collate import collate_clips
from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.layers import ClipBatch, FrameAttention, TokenGrid
from nextvid_mm.layers.rope import split_rotated
from nextvid_mm.registry import DATASETS, require_registered
from nextvid_mm.visualization.figures import draw_feature_map, project
from nextvid_mm.visualization.sheets import draw_sheet, overlay_attention, tile_rows

from .learned import pooled
from .page import Section, drawing, photograph

SHEET_CLIPS = 3
_FEWEST_FOR_MAP = 8
_TITLE = 'Your videos'
_READING = (
    'Attention: what the tokens of the last frame read in the last layer, mean of heads; bright is '
    'read. Features: the three directions in which tokens differ most, as colours: what has one '
    'colour is alike to the encoder.'
)


@dataclass(frozen=True)
class OwnClips:
    """Some clips of a training's mixture.

    Attributes:
        clips: ``(B, 3, T_video, height, width)`` in [-1, 1], on the model's device.
        batch: their masks.
        sources: the source of each.
    """

    clips: Tensor
    batch: ClipBatch
    sources: list[str]


def own_clips(config: Config, model: nn.Module, count: int) -> OwnClips:
    """Draw clips of a run's mixture as its first stage would, always the same.

    Args:
        config: of the run.
        model: its pretraining model; its data preprocessor is applied.
        count: how many.

    Raises:
        ValueError: if the config names what is no registered component.
        OSError: if the videos are not where the config says.
    """
    require_registered(config.train_dataloader.to_dict(), 'train_dataloader of the run')
    dataset = DATASETS.build(config.train_dataloader.dataset)
    frames = config.train_cfg.stages[0].num_frames
    requests = ClipSampler(dataset, seed=1).requests(np.arange(count), frames)
    data = model.data_preprocessor(collate_clips([dataset[r] for r in requests]), training=False)
    batch: ClipBatch = data['data_samples']
    sources = [str(info.get('source', 'clips')) for info in batch.info]
    return OwnClips(data['inputs'].flatten(0, 1), batch, sources)


@torch.no_grad()
def own_section(config: Config, model: nn.Module, count: int) -> Section:
    """Input, mask, generated frames, attention and features of a run's own videos.

    Args:
        config: of the run.
        model: its pretraining model, in evaluation mode.
        count: clips of the map; three of them are shown.
    """
    try:
        own = own_clips(config, model, count)
    except (OSError, ValueError, RuntimeError) as error:
        return Section(_TITLE, [f'Nothing can be shown, the videos cannot be read: {error}'])
    text, pictures = ['Clips of the training mixture, as its first stage sees them.'], []
    try:
        sheet = draw_sheet(model, own.clips[:SHEET_CLIPS], own.batch.take(slice(SHEET_CLIPS)))
        caption = 'Input, masked and generated; visible patches as far as the targets resolve them'
        pictures.append(photograph(caption, sheet))
    except (AttributeError, ValueError) as error:  # no decoder, or targets that are no pictures
        text.append(f'Generated frames cannot be shown: {error}')
    tokens = torch.cat([model.backbone.encode(clip[None]) for clip in own.clips]).cpu()
    text.append(_READING)
    pictures.append(
        photograph('Input, attention and features', strips(model.backbone, own, tokens))
    )
    if count >= _FEWEST_FOR_MAP:
        names = sorted(set(own.sources))
        labels = [names.index(source) for source in own.sources]
        figure = draw_feature_map(project(pooled(tokens.flatten(1, 2))), labels, names)
        pictures.append(drawing(f'Features of {count} clips (t-SNE), by source', figure))
    return Section(_TITLE, text, (), pictures)


def strips(encoder: nn.Module, own: OwnClips, tokens: Tensor) -> Image.Image:
    """Some clips, and under each the same frames by attention and by features.

    Args:
        encoder: of the clips.
        own: of which the first are shown.
        tokens: theirs, ``(B, T, N, C)``.
    """
    clips, tubelet = own.clips[:SHEET_CLIPS], encoder.tubelet_size
    attention = last_attention(encoder, clips)
    colours = feature_colours(tokens[:SHEET_CLIPS], encoder.grid_of(clips), clips.shape[-2:])
    rows = []
    for number, clip in enumerate(clips.cpu()):
        rows.append((f'{number}: input', clip[:, tubelet - 1 :: tubelet]))
        if attention is not None:
            lit = overlay_attention(clip, attention[number], tubelet)
            rows.append((f'{number}: attention', lit))
        rows.append((f'{number}: features', colours[number]))
    return tile_rows(rows, gap=2)


def last_attention(encoder: nn.Module, clips: Tensor) -> Tensor | None:
    """What the tokens of the last tubelet read in the last layer, mean of heads and tokens.

    Args:
        encoder: of the clips.
        clips: ``(B, 3, T_video, height, width)``.

    Returns:
        ``(B, T, H, W)`` on the CPU, which adds up to 1 for each clip; None for an encoder of other
        layers than ours.
    """
    layers = [module for module in encoder.modules() if isinstance(module, FrameAttention)]
    if not layers:
        return None
    layer, seen = layers[-1], []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[:2]))
    try:
        encoder.encode(clips)
    finally:
        handle.remove()
    x, rope = seen[-1]
    packed = layer.qkv(x).flatten(1, 2).unflatten(-1, (3, layer.num_heads, -1))
    q, k, _ = split_rotated(packed, rope, rotated=2)
    scores = q[:, :, -x.shape[2] :] @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    grid = encoder.grid_of(clips)
    weights = scores.float().softmax(-1).mean((1, 2)).cpu()
    return weights.view(-1, grid.tubelets, grid.height, grid.width)


def feature_colours(tokens: Tensor, grid: TokenGrid, size: Sequence[int]) -> Tensor:
    """The first three principal components of tokens as red, green and blue.

    Args:
        tokens: ``(B, T, N, C)``.
        grid: of the clips.
        size: height and width of the pictures.

    Returns:
        ``(B, 3, T, height, width)`` in [-1, 1], on the CPU.
    """
    flat = tokens.double().cpu().flatten(0, 2)
    flat = flat - flat.mean(0)
    directions = torch.linalg.eigh(flat.T @ flat)[1].flip(-1)[:, :3]
    shown = flat @ directions
    low, high = shown.quantile(0.02, 0), shown.quantile(0.98, 0)
    shown = 2 * (shown - low) / (high - low).clamp_min(1e-12) - 1
    frames = shown.view(-1, grid.height, grid.width, 3).permute(0, 3, 1, 2).float()
    frames = interpolate(frames, tuple(size), mode='bilinear').clamp(-1, 1)
    return frames.unflatten(0, (len(tokens), -1)).transpose(1, 2)
