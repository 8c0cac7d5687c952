"""Videos of any length and images as windows of frames, with the time of every frame.

Shape legend: F video frames of a window, S pixels per side.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dataset import Compose
from numpy.typing import NDArray
from torch import Tensor

from nextvid_mm.datasets.video_lists import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, read_lines
from nextvid_mm.models.backbones.pixels import from_bytes
from nextvid_mm.registry import SCOPE, TRANSFORMS


class UnreadableMediaError(ValueError):
    """A file that cannot be decoded; the message names it and the reason."""


@dataclass(frozen=True)
class Window:
    """Consecutive frames of a file.

    Attributes:
        clip: ``(3, F, S, S)`` in [-1, 1].
        times: seconds of the F frames, float64.
        first: number of the first frame among those sampled from the file.
    """

    clip: Tensor
    times: NDArray[np.float64]
    first: int


class MediaReader:
    """Cuts files into windows.

    Frames are taken at even times, ``1 / fps`` apart from the first frame of the file to its last,
    each the nearest there is. The short side is resized to S and the centre cropped, as in the
    probes' test pipelines.

    Args:
        fps: frames per second; None takes every frame of the file.
        num_frames: F; an image is a static clip of as many frames.
        stride: frames from one window to the next.
        size: S.
        multiple: frames per token: short videos are rounded up to it by repeating the last frame.
    """

    def __init__(self, fps: float | None, num_frames: int, stride: int, size: int, multiple: int):
        self.fps, self.num_frames, self.stride, self.multiple = fps, num_frames, stride, multiple
        self._open = compose(dict(type='CachedDecordInit'))
        self._decode = compose(dict(type='mmaction.DecordDecode'), *square(size))
        image = dict(type='LoadImageFromFile'), dict(type='ImageToClip')
        self._image = compose(*image, *square(size))

    def windows(self, path: str | Path) -> Iterator[Window]:
        """Windows of a file, in order; together they cover every sampled frame.

        Raises:
            UnreadableMediaError: if it is missing or cannot be decoded.
        """
        try:
            is_image = str(path).lower().endswith(IMAGE_EXTENSIONS)
            yield from self._windows_of_image(path) if is_image else self._windows_of_video(path)
        except MemoryError:
            raise
        # Decoders raise whatever they like; what they say is kept.
        except Exception as error:
            reason = str(error).strip().splitlines() or ['']
            raise UnreadableMediaError(f'{path}: {type(error).__name__}: {reason[0]}') from error

    def _windows_of_image(self, path: str | Path) -> Iterator[Window]:
        results = self._image(dict(img_path=str(path)))
        frame = _to_clip(results['imgs'])
        clip = frame.expand(-1, self.num_frames, -1, -1)
        yield Window(clip, np.zeros(self.num_frames), first=0)

    def _windows_of_video(self, path: str | Path) -> Iterator[Window]:
        video = self._open(dict(filename=str(path), modality='RGB', start_index=0))
        reader = video['video_reader']
        frames, times = sample_evenly(*_timeline(reader), self.fps)
        rest = -len(frames) % self.multiple
        frames, times = np.pad(frames, (0, rest), 'edge'), np.pad(times, (0, rest), 'edge')
        for first in window_starts(len(frames), self.num_frames, self.stride):
            chosen = slice(first, first + self.num_frames)
            results = self._decode(video | dict(video_reader=reader, frame_inds=frames[chosen]))
            yield Window(_to_clip(results['imgs']), times[chosen], first)


def sample_evenly(
    indices: NDArray[np.int64], times: NDArray[np.float64], fps: float | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Frames nearest to even times from the first to the last.

    Args:
        indices: numbers of the frames of a file.
        times: their seconds, increasing.
        fps: frames per second; None for all.

    Returns:
        Numbers of the frames taken and the seconds they really are at.
    """
    if fps is None:
        return indices, times
    count = int(np.floor((times[-1] - times[0]) * fps + 1e-4)) + 1
    targets = times[0] + np.arange(count) / fps
    # A target halfway between two frames takes the later one, as in training.
    nearest = np.searchsorted((times[1:] + times[:-1]) / 2, targets + 1e-4, side='right')
    return indices[nearest], times[nearest]


def window_starts(total: int, length: int, stride: int) -> list[int]:
    """First frames of windows that cover ``total`` frames.

    The last window is moved back so that it is full; a file shorter than a window is one short
    window. If all three are whole tokens, so is every start.
    """
    last = max(total - length, 0)
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


def find_media(inputs: Sequence[str | Path], root: str | Path = '') -> list[str]:
    """Files of a list of files, folders (searched through) and ``.txt`` lists of files.

    Args:
        inputs: files, folders and lists; a list is read as that of a ``ClipListDataset`` is:
            labels and comments are no part of its paths.
        root: folder that the paths in lists are relative to.

    Raises:
        FileNotFoundError: if a list does not exist, or there is no file at all.
    """
    endings = (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)
    found: list[str] = []
    for entry in map(Path, inputs):
        if entry.is_dir():
            files = (Path(root, name) for root, _, names in os.walk(entry) for name in names)
            found += sorted(str(file) for file in files if file.name.lower().endswith(endings))
        elif entry.suffix == '.txt':
            lines = entry.read_text(encoding='utf-8').splitlines()
            found += [os.path.join(root, file.path) for file in read_lines(lines)]
        else:
            found.append(str(entry))
    if not found:
        raise FileNotFoundError(
            f'no video or image in {", ".join(map(str, inputs))}; endings: {", ".join(endings)}'
        )
    return list(dict.fromkeys(found))


def _timeline(reader: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers and seconds of all frames."""
    indices = np.arange(len(reader))
    if not len(indices):
        raise ValueError('the video has no frames')
    times = np.asarray(reader.get_frame_timestamp(indices), dtype=np.float64)[:, 0]
    if len(indices) > 1 and times[-1] <= times[0]:
        times = indices / reader.get_avg_fps()
    return indices, times


def _to_clip(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Frames ``(S, S, 3)`` to ``(3, F, S, S)`` in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2))


def square(size: int) -> list[dict[str, Any]]:
    """Transforms that fit the short side to ``size`` pixels and cut out the middle.

    The one rule for pictures of any size, and that of the probes' test pipelines.
    """
    resize = dict(type='mmaction.Resize', scale=(-1, size))
    return [resize, dict(type='mmaction.CenterCrop', crop_size=size)]


def compose(*transforms: dict[str, Any]) -> Compose:
    """A pipeline of transforms."""
    return Compose([TRANSFORMS.build(dict(_scope_=SCOPE) | transform) for transform in transforms])
