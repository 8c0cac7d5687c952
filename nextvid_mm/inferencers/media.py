"""Videos of any length and images as windows of frames, with the time of every frame.

Shape legend: F video frames of a window, S pixels per side.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import Compose
from mmengine.logging import print_log
from numpy.typing import NDArray
from torch import Tensor

from nextvid_mm.datasets.clip_shards import opened
from nextvid_mm.datasets.listed_clips import TABLES, ListedClip, read_entries
from nextvid_mm.datasets.video.files import MEDIA_EXTENSIONS, is_image, walk
from nextvid_mm.datasets.video.pictures import load_picture
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.files import shown, time_fragment
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
        self.size = size

    def windows(self, path: Media | Path, start: int = 0) -> Iterator[Window]:
        """Windows of a file, or of a part of it, in order; together they cover every sampled frame.

        Args:
            path: the file.
            start: number of the frame at which the first window begins, where those before are
                done: a multiple of the stride.

        Raises:
            UnreadableMediaError: if it is missing or cannot be decoded.
        """
        with _told(path):
            clip = _clip(path)
            if is_image(clip.path):
                yield from self._windows_of_image(clip)
            else:
                yield from self._windows_of_video(clip, start)

    def pieces(self, path: Media | Path, length: int, start: int = 0) -> Iterator[Window]:
        """Frames of a video from number ``start`` on, ``length`` at a time and the rest.

        Raises:
            UnreadableMediaError: if it is missing or cannot be decoded.
        """
        with _told(path):
            frames = self._sampled(_clip(path), start)
            while part := list(islice(frames, length)):
                yield _window(part, start)
                start += len(part)

    def measure(self, path: Media | Path) -> tuple[float, float]:
        """Frames a second that are taken of a video, and its seconds by its header.

        Raises:
            UnreadableMediaError: if it is a picture, missing, or cannot be decoded.
        """
        with _told(path):
            clip = _clip(path)
            if is_image(clip.path):
                raise ValueError('a picture: there is no time in it')
            with VideoReader(opened(clip)) as video:
                start, end = clip.segment or (0.0, None)
                last = video.duration if end is None else min(end, video.duration)
                return self.fps or video.rate, max(last - start, 0.0)

    def _windows_of_image(self, clip: ListedClip) -> Iterator[Window]:
        pixels = _to_clip([fit(load_picture(opened(clip)), self.size)])
        yield Window(pixels.expand(-1, self.num_frames, -1, -1), np.zeros(self.num_frames), first=0)

    def _windows_of_video(self, clip: ListedClip, start: int) -> Iterator[Window]:
        """Windows that start ``stride`` apart, the last moved back so that it is full."""
        length = self.num_frames
        total = max(0, start - length)  # the last window may begin before ``start``
        last = start - self.stride if start else -1
        recent: list[tuple[float, NDArray[np.uint8]]] = []  # the newest frames
        for frame in self._sampled(clip, total):
            recent, total = [*recent[-length + 1 :], frame] if length > 1 else [frame], total + 1
            if total == start + length:
                yield _window(recent, start)
                last, start = start, start + self.stride
        if last < 0 or last + length < total:
            yield _window(recent, max(total - length, 0))

    def _sampled(self, clip: ListedClip, first: int) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Seconds and square pictures, the last repeated until they are whole tokens."""
        count, frame = first, None
        with VideoReader(opened(clip)) as video:
            for time, picture in part_of(video, self.fps, clip.segment, first):
                frame, count = (time, fit(picture, self.size)), count + 1
                yield frame
        if frame is not None:
            yield from [frame] * (-count % self.multiple)


def _clip(path: Media | Path) -> ListedClip:
    return path if isinstance(path, ListedClip) else ListedClip(str(path))


def shown_media(path: Media | Path) -> str:
    """Name of a file or a part of one for messages; see :func:`~nextvid_mm.files.shown`."""
    clip = _clip(path)
    return shown(clip.path) + time_fragment(clip.segment)


@contextmanager
def _told(path: Media | Path) -> Iterator[None]:
    """Name the file in whatever a decoder raises, and keep what it says."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or ['']
        raise UnreadableMediaError(
            f'{shown_media(path)}: {type(error).__name__}: {reason[0]}'
        ) from error


def _window(frames: Sequence[tuple[float, NDArray[np.uint8]]], first: int) -> Window:
    times, pictures = zip(*frames, strict=True)
    return Window(_to_clip(pictures), np.array(times), first)


def part_of(
    video: VideoReader,
    fps: float | None,
    segment: tuple[float, float | None] | None,
    first: int = 0,
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Seconds and pictures of a part of a video; see ``VideoReader.every``.

    Args:
        video: the whole.
        fps: frames per second; None takes every frame.
        segment: seconds from and to, None for the end; None takes all.
        first: number of the frame to begin with.

    Raises:
        ValueError: if the part begins after the end of the video.
    """
    start, end = segment or (0.0, None)
    if start >= video.duration:
        raise ValueError(f'{video.name} has no frame after {start} s')
    begin, skipped = (start, first) if fps is None else (start + first / fps, 0)
    frames = islice(video.every(fps, begin), skipped, None)
    for number, (time, picture) in enumerate(frames, start=first):
        past = end is not None and (time if fps is None else start + number / fps) >= end
        if past and number:  # however short the part is, it has a frame
            return
        yield time, picture


Media = str | ListedClip
"""A file, or an entry of a list that is a part of one; ``str()`` of it is its name."""


def find_media(
    inputs: Sequence[str | Path], root: str | Path = '', columns: Mapping[str, str] | None = None
) -> list[Media]:
    """Files of a list of files, folders (searched through) and lists of files.

    Args:
        inputs: files, folders, addresses of files, and lists (``.txt``, ``.csv``, ``.tsv``,
            ``.parquet``); a list is read as that of a ``ClipListDataset`` is: labels and comments
            are no part of its paths.
        root: folder that the paths in lists are relative to.
        columns: how a table calls its columns; see ``ClipListDataset``.

    Returns:
        Paths; parts of videos, and files in tar files, as ``ListedClip``.

    Raises:
        FileNotFoundError: if a list does not exist, or there is no file at all.
    """
    found: list[Media] = []
    for entry in inputs:
        if os.path.isdir(entry):
            below = walk(entry)
            for note in below.notes():
                print_log(f'{entry}: {note}', logger='current', level=logging.WARNING)
            found += below.files + below.closed  # whoever opens a closed folder says why
        elif (listed := listed_in(entry, columns)) is not None:
            found += [as_media(clip.below(root)) for clip in listed]
        else:
            found.append(str(entry))
    if not found:
        raise FileNotFoundError(
            f'no video or image in {", ".join(map(str, inputs))}; endings: '
            f'{", ".join(MEDIA_EXTENSIONS)}'
        )
    return list({str(media): media for media in found}.values())


def listed_in(
    entry: str | Path, columns: Mapping[str, str] | None = None
) -> Iterator[ListedClip] | None:
    """Entries of a list among the inputs of a tool; None for a file or a folder."""
    suffix = Path(shown(entry)).suffix.lower()
    if os.path.isdir(entry) or suffix not in ('.txt', *TABLES):
        return None
    return read_entries(str(entry), columns if suffix in TABLES else None)


def as_media(clip: ListedClip) -> Media:
    """An entry of a list; of a whole file on its own, the path."""
    return clip.path if clip.segment is None and clip.part is None else clip


def _to_clip(frames: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Frames ``(S, S, 3)`` to ``(3, F, S, S)`` in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2))


def fit(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Resize the shorter side of ``(height, width, 3)`` to ``size`` and cut out the middle."""
    if picture.shape[:2] == (size, size):
        return picture
    return _square(size)(dict(imgs=[picture], img_shape=picture.shape[:2]))['imgs'][0]


@cache
def _square(size: int) -> Compose:
    """The one rule for pictures of any size, and that of the probes' test pipelines."""
    resize = dict(type='mmaction.Resize', scale=(-1, size))
    crop = dict(type='mmaction.CenterCrop', crop_size=size)
    return Compose([TRANSFORMS.build(dict(_scope_=SCOPE) | step) for step in (resize, crop)])
