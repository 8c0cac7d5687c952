"""Clips from files, and moving pictures back into files.

Shape legend: T video frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nextvid_mm.datasets.clip_shards import opened
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.video.files import is_image
from nextvid_mm.datasets.video.pictures import load_picture
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.files import replace_when_complete, save_picture
from nextvid_mm.inferencers.media import fit, part_of
from nextvid_mm.visualization.sheets import tile_rows


@dataclass(frozen=True)
class Seed:
    """A clip as a model takes it.

    Attributes:
        frames: ``(3, T, size, size)``, uint8 RGB.
        static: whether it is a repeated image.
        notes: what was done to fit it, one sentence each.
    """

    frames: Tensor
    static: bool
    notes: list[str]


def read_seed(
    path: str | Path | ListedClip, num_frames: int, size: int, fps: float, start: float = 0.0
) -> Seed:
    """Read an image or the beginning of a video, resized to a square.

    Args:
        path: an image, which is repeated, a video, or an entry of a list.
        num_frames: video frames to take; a shorter video, or part of one, gives all it has.
        size: pixels per side; the shorter side is fitted, the longer one is cut.
        fps: frames taken per second of video.
        start: seconds of video to skip.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is neither image nor video, or ends before ``start``.
    """
    clip = path if isinstance(path, ListedClip) else ListedClip(str(path), start=start or math.nan)
    path = Path(clip.path)
    if clip.part is None and not path.is_file():
        raise FileNotFoundError(f'{path}: no such image or video')
    static = is_image(path)
    try:
        if static:
            pictures = [load_picture(opened(clip))]
        else:
            with VideoReader(opened(clip)) as video:
                pictures = [p for _, p in islice(part_of(video, fps, clip.segment), num_frames)]
    except OSError as error:
        raise ValueError(f'{path}: {error}') from error
    notes = []
    height, width = pictures[0].shape[:2]
    if (height, width) != (size, size):
        cut = '' if height == width else ', the longer side cut in the middle'
        notes.append(f'{path.name}: {width}x{height} px resized to {size}x{size} px{cut}')
    frames = torch.from_numpy(np.stack([fit(picture, size) for picture in pictures]))
    frames = frames.permute(3, 0, 1, 2)
    return Seed(frames.expand(-1, num_frames, -1, -1) if static else frames, static, notes)


def movie(rows: Sequence[tuple[str, Tensor]], zoom: int = 2) -> NDArray[np.uint8]:
    """Captioned clips one above the other, moving together.

    Args:
        rows: caption and clip ``(3, T, height, width)`` in [-1, 1], all of the same T.
        zoom: enlargement.

    Returns:
        ``(T, H, W, 3)`` with even H and W.
    """
    pictures = []
    for time in range(rows[0][1].shape[1]):
        still = [(caption, clip[:, time : time + 1]) for caption, clip in rows]
        pictures.append(np.asarray(tile_rows(still, zoom)))
    frames = np.stack(pictures)
    odd = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    return np.pad(frames, odd, constant_values=255)


def write_movie(stem: Path, frames: NDArray[np.uint8], fps: float) -> list[Path]:
    """Write ``stem.gif`` (endless) and ``stem.mp4`` (H.264).

    Args:
        stem: path without an ending; its folder exists.
        frames: from ``movie``.
        fps: frames per second; GIF rounds to hundredths of a second.
    """
    gif, mp4 = stem.with_name(f'{stem.name}.gif'), stem.with_name(f'{stem.name}.mp4')
    first, *others = [Image.fromarray(frame) for frame in frames]
    options = dict(save_all=True, append_images=others, duration=round(1000 / fps), loop=0)
    save_picture(first, gif, **options)
    with replace_when_complete(mp4) as temporary:
        encode_video(temporary, frames, fps)
    return [gif, mp4]
