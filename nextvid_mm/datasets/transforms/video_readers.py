"""Ways to read a video file, behind the part of decord's ``VideoReader`` that MMAction2 uses.

All return the same frames of the same file up to the rounding of colour conversion; they differ in
speed and in what they need: decord and PyAV bring FFmpeg along, torchcodec uses the system's. None
decodes at reduced size: H.264 and its successors have no cheap way to, and having FFmpeg shrink
every decoded frame took longer than converting it whole and resizing the crop.
"""

from __future__ import annotations

import importlib
import logging
from bisect import bisect_right
from collections.abc import Callable
from functools import cached_property
from typing import Any

import av
import decord
import numpy as np
from av.video.reformatter import VideoReformatter
from mmengine.logging import print_log
from numpy.typing import NDArray

# Frames that are cheaper to decode in passing than to reach by going back to a key frame.
_WORTH_A_SEEK = 8


class Frames:
    """An array that is unwrapped like decord's.

    Args:
        array: frames ``(n, H, W, 3)``, uint8.
    """

    def __init__(self, array: NDArray[np.uint8]) -> None:
        self.array = array

    def asnumpy(self) -> NDArray[np.uint8]:
        """The array."""
        return self.array


class PacketIndex:
    """Frame numbers and times of a file, from its packets, which are listed without decoding.

    Args:
        path: of the video.
    """

    def __init__(self, path: str) -> None:
        self.container = av.open(path)
        if not self.container.streams.video:
            raise ValueError(f'{path} has no video stream')
        self.stream = self.container.streams.video[0]
        packets = list(self.container.demux(self.stream))
        self.pts = sorted(p.pts for p in packets if p.pts is not None)
        self.keys = sorted(p.pts for p in packets if p.pts is not None and p.is_keyframe)
        if not self.pts or self.stream.time_base is None:
            raise ValueError(f'{path} has no frames')
        self._tick = float(self.stream.time_base)

    def __len__(self) -> int:
        return len(self.pts)

    def get_avg_fps(self) -> float:
        """Average frames per second."""
        return float(self.stream.average_rate or 1 / (self._gap * self._tick))

    @cached_property
    def _gap(self) -> float:
        """Mean distance of frames in ticks."""
        return (self.pts[-1] - self.pts[0]) / max(1, len(self.pts) - 1) or 1 / self._tick

    def get_frame_timestamp(self, indices: Any) -> NDArray[np.floating]:
        """Start and end of frames ``(n, 2)`` in seconds."""
        starts = np.array([*self.pts, self.pts[-1] + self._gap], dtype=np.float64) * self._tick
        chosen = np.asarray(indices)
        return np.stack([starts[chosen], starts[chosen + 1]], axis=-1)


class PyAVReader(PacketIndex):
    """Reads with PyAV: jumps to the key frame before what is asked for and decodes from there.

    Args:
        path: of the video.
        num_threads: of the decoder.
    """

    def __init__(self, path: str, num_threads: int = 1) -> None:
        super().__init__(path)
        self.stream.thread_count = num_threads
        self.stream.thread_type = 'AUTO' if num_threads > 1 else 'NONE'
        # One for all frames: to_ndarray of a frame would set up a converter of its own each time.
        self._converter = VideoReformatter()
        self._decoder: Any = None
        self._next = 0  # number of the frame that the decoder gives next

    def __getitem__(self, number: int) -> Frames:
        return Frames(self.get_batch([number]).asnumpy()[0])

    def get_batch(self, indices: Any) -> Frames:
        """Decode frames ``(n, H, W, 3)``; each is decoded once, however often it is asked for."""
        wanted = np.asarray(indices).reshape(-1)
        pictures = {int(number): self._read(int(number)) for number in np.unique(wanted)}
        return Frames(np.stack([pictures[int(number)] for number in wanted]))

    def _read(self, number: int) -> NDArray[Any]:
        if not 0 <= number < len(self.pts):
            raise IndexError(f'frame {number} of a video with {len(self.pts)}')
        self._approach(number)
        for frame in self._decoder:
            self._next = bisect_right(self.pts, frame.pts)
            if frame.pts >= self.pts[number]:
                return self._converter.reformat(frame, format='rgb24').to_ndarray()
        raise EOFError(f'the file ends before frame {number} of {len(self.pts)}')

    def _approach(self, number: int) -> None:
        """Bring the decoder to a place from which ``number`` is ahead and near."""
        key = self.keys[max(0, bisect_right(self.keys, self.pts[number]) - 1)] if self.keys else 0
        behind = self._decoder is None or self._next > number
        far = number - self._next > _WORTH_A_SEEK
        if behind or (far and bisect_right(self.pts, key) - 1 > self._next):
            self.container.seek(key, stream=self.stream, backward=True)
            self._decoder = self.container.decode(self.stream)
            self._next = bisect_right(self.pts, key) - 1


class TorchcodecReader(PacketIndex):
    """Reads with torchcodec, which needs FFmpeg's libraries on the system.

    Args:
        path: of the video.
        num_threads: of the decoder.
    """

    def __init__(self, path: str, num_threads: int = 1) -> None:
        decoders = importlib.import_module('torchcodec.decoders')
        super().__init__(path)
        self.decoder = decoders.VideoDecoder(
            path, dimension_order='NHWC', num_ffmpeg_threads=num_threads
        )

    def __getitem__(self, number: int) -> Frames:
        return Frames(self.get_batch([number]).asnumpy()[0])

    def get_batch(self, indices: Any) -> Frames:
        """Decode frames ``(n, H, W, 3)``."""
        numbers = [int(number) for number in np.asarray(indices).reshape(-1)]
        return Frames(self.decoder.get_frames_at(numbers).data.numpy())


def open_decord(path: str, num_threads: int = 1) -> decord.VideoReader:
    """Open with decord."""
    return decord.VideoReader(path, num_threads=num_threads)


BACKENDS: dict[str, Callable[..., Any]] = dict(
    decord=open_decord, pyav=PyAVReader, torchcodec=TorchcodecReader
)


def usable_backend(name: str) -> str:
    """The back-end itself, or decord where its libraries cannot be loaded.

    Args:
        name: a key of ``BACKENDS``.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in BACKENDS:
        raise ValueError(f'backend={name!r} is not one of {", ".join(BACKENDS)}')
    if name != 'torchcodec':
        return name
    reason = _why_no_torchcodec()
    if reason is not None:
        print_log(
            f"backend='torchcodec' cannot be used ({reason}); reading videos with decord instead. "
            'It needs the package torchcodec and the libraries of FFmpeg.',
            logger='current',
            level=logging.WARNING,
        )
        return 'decord'
    return name


def _why_no_torchcodec() -> str | None:
    """What keeps torchcodec from working; its import alone succeeds without FFmpeg."""
    try:
        importlib.import_module('torchcodec.decoders').VideoDecoder(b'no video')
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        message = str(error)
        missing = isinstance(error, ImportError | OSError) or 'Could not load' in message
        return (message.splitlines() or [type(error).__name__])[0] if missing else None
    return None
