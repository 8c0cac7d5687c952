"""Training clips as the model gets them, and what is left to see of files that were replaced."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from torch import Tensor

from nextvid_mm.datasets.clip_shards import opened, read_members
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.datasets.video.files import is_image, parse_list
from nextvid_mm.datasets.video.pictures import load_picture
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.files import INSIDE, is_remote, save_picture, write_text
from nextvid_mm.models.backbones.pixels import from_bytes
from nextvid_mm.registry import DATASETS
from nextvid_mm.visualization.figures import data_uri
from nextvid_mm.visualization.sheets import show_patches, tile_rows

# Frames and pixels per side of a replaced file.
_GLIMPSES, _SIDE = 8, 64
_PART = re.compile(r'(.*)#t=([0-9.e+-]+),([0-9.e+-]*)', re.DOTALL)


class Shown(NamedTuple):
    """One clip: what is written above it, and its film strips."""

    title: str
    strips: list[tuple[str, Tensor]]


def training_clips(config: Config, count: int, seed: int = 0, start: int = 0) -> Iterator[Shown]:
    """Clips of a training config after all of its transforms, plain and with each mask.

    Args:
        config: of a run with a ``MixtureDataset``.
        count: how many clips.
        seed: of the run; clips are those that a run with this seed begins with.
        start: number of the first clip.
    """
    dataset = DATASETS.build(config.train_dataloader.dataset)
    frames = config.train_cfg.stages[0]['num_frames']
    patch = next(
        (t.patch_size for t in dataset.pipeline.transforms if hasattr(t, 'patch_size')), 16
    )
    sampler = ClipSampler(dataset, seed=seed)
    for request in sampler.requests(np.arange(start, start + count), frames):
        sample = dataset[request]
        clip, data = from_bytes(sample['inputs'][0]), sample['data_samples']
        info = data.metainfo
        seconds = info.get('seconds')
        when = 'image' if seconds is None else f'{seconds[0]:.2f} to {seconds[1]:.2f} s'
        title = f'{info["position"]}: {info["source"]}, {info["path"]}, {when}'
        for path, reason in info['replaced']:
            title += f'; in place of {path} ({reason})'
        strips = [('as the model gets it', clip)]
        for number, mask in enumerate(data.get('masks', ())):
            visible = torch.as_tensor(mask['visible']).reshape(1, -1)
            masked = show_patches(clip[None], visible, patch)[0]
            strips.append((f'mask {number}: {visible.shape[1]} patches visible', masked))
        yield Shown(title, strips)


def replaced_files(listed: Path, count: int) -> Iterator[Shown]:
    """What can be seen of the files in a run's ``replaced_samples`` list.

    Args:
        listed: ``replaced_samples.txt`` or ``replaced_samples.rankN.txt``.
        count: most files.
    """
    lines = listed.read_text(encoding='utf-8').split('\n')
    for line in [line for line in lines if line][:count]:
        text, _, reason = line.partition('\t')
        path = parse_list(text.encode(), str(listed))[0].path
        try:
            frames = _glimpses(_named(path))
        except (ValueError, OSError) as error:
            frames, reason = [], f'{reason}; now: {error}'
        pictures = [Image.fromarray(frame).resize((_SIDE, _SIDE)) for frame in frames]
        grey, white = (np.full((_SIDE, _SIDE, 3), level, np.uint8) for level in (128, 255))
        found = [np.asarray(picture) for picture in pictures] or [grey]
        # As wide as others, so that there is room for the reason above.
        stacked = np.stack(found + [white] * (_GLIMPSES - len(found)))
        clip = from_bytes(torch.from_numpy(stacked).permute(3, 0, 1, 2))
        yield Shown(f'{path}: {reason}', [('what can be read of it', clip)])


def _named(name: str) -> ListedClip:
    """What a name in such a list stands for: a file, a part of a video, a file in a tar file."""
    if not is_remote(name) and os.path.exists(name):
        return ListedClip(name)
    found = _PART.fullmatch(name)
    path, start, end = found.groups() if found else (name, None, None)
    clip = ListedClip(path, -1, 0, float(start or math.nan), float(end or math.nan))
    archive, inside, member = path.rpartition(INSIDE)
    if not inside:
        return clip
    for held in read_members(archive):
        if held.name == member:
            return clip._replace(offset=held.offset, size=held.size)
    raise ValueError(f'{archive} holds no {member}')


def _glimpses(clip: ListedClip) -> list[np.ndarray]:
    """Frames from all over a file or a part of it, as far as it can be read."""
    if is_image(clip.path):
        return [load_picture(opened(clip))]
    frames: list[np.ndarray] = []
    with VideoReader(opened(clip)) as video:
        start, end = clip.segment or (0.0, None)
        for moment in np.linspace(start, end or video.duration, _GLIMPSES, endpoint=False):
            try:
                frames += video.frames_at([moment]).frames
            except ValueError:
                if not frames:
                    raise
                break
    return frames


def write_pages(shown: Sequence[Shown], out: Path, page: bool = False) -> list[Path]:
    """Write a sheet ``out.png`` and, if asked for, the same as a page ``out.html``.

    Args:
        shown: clips.
        out: path without a suffix; its folder is made.
        page: write the page too.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (f'{clip.title} | {name}' if number == 0 else name, strip)
        for clip in shown
        for number, (name, strip) in enumerate(clip.strips)
    ]
    sheet = out.with_name(f'{out.name}.png')
    save_picture(tile_rows(rows, zoom=1, gap=2), sheet)
    if not page:
        return [sheet]
    parts = ['<!doctype html><meta charset="utf-8"><title>clips</title>']
    for clip in shown:
        picture = data_uri(tile_rows(clip.strips, zoom=1, gap=2))
        parts.append(f'<h4>{html.escape(clip.title)}</h4><img src="{picture}">')
    written = out.with_name(f'{out.name}.html')
    write_text(written, '\n'.join(parts).encode(errors='replace').decode())
    return [sheet, written]
