"""Reads videos by presentation time: no frame numbers, no list of packets, no scan at opening."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from nextvid_mm.datasets.video.decoder import TOLERANCE, Decoded, Decoder, ReadTimeoutError
from nextvid_mm.datasets.video.ffmpeg import Orientation, collected

__all__ = ['TOLERANCE', 'ReadTimeoutError', 'Shot', 'VideoReader']

# Seconds that a file may end before the time its header tells; beyond, it has been cut.
_SLACK = 1.0
# Times known ahead to a decoder that may leave out frames between them.
_BLOCK = 128


@dataclass(frozen=True)
class Shot:
    """Frames of a video and when they are shown.

    Attributes:
        frames: ``(H, W, 3)`` each, uint8 RGB, upright.
        times: ``(n,)`` seconds from the first shown frame, float64.
    """

    frames: list[NDArray[np.uint8]]
    times: NDArray[np.float64]


class VideoReader:
    """The frames of a video nearest to any times, as a sequential decode by FFmpeg shows them.

    Seeks to the key frame before the first wanted time and decodes forward from there; if the first
    frame comes late, from further back. Decoding goes on where the last call stopped, and seeks
    ahead only where a key frame lies between: however many clips of a video are read, in order, no
    frame is decoded twice. Edit lists and hidden packets are honoured, the display matrix is
    applied, and so are the file's colour matrix and range.

    Files without presentation times (H.264 in AVI) are counted from a place where the order is
    certain.

    Args:
        file: path, content, or seekable file opened for reading bytes.
        stream: which of several video streams; covers and thumbnails do not count. None: the first.
        threads: of the decoder.
        deadline: ``time.monotonic()`` at which reading gives up; may be changed between calls.

    Raises:
        FileNotFoundError, PermissionError: as of opening a file.
        ValueError: if there is no such video stream, or it has no frame; names the file.
        ReadTimeoutError: at the deadline.
    """

    def __init__(
        self,
        file: str | Path | bytes | IO[bytes],
        stream: int | None = None,
        threads: int = 1,
        deadline: float | None = None,
    ) -> None:
        self.name = _name_of(file)
        self._converter = VideoReformatter()
        with collected(self.name):
            self._decoder = Decoder(file, self.name, stream, threads, deadline)
            first = self._decoder.first
            self._behind = self._ahead = first
            self._ended = False
            self.origin, self.rate = first.time, self._decoder.rate
            self.orientation = Orientation.of(first.frame)
            self._size = first.frame.width, first.frame.height
            self.slack = self._decoder.slack
            self.duration = max(self._decoder.end() - self.origin, 1 / self.rate)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames."""
        width, height = self._size
        return (width, height) if self.orientation.transpose else (height, width)

    def __len__(self) -> int:
        """How many frames there are at the file's average rate, by its header; at least 1."""
        return max(1, round(self.duration * self.rate))

    def frames_at(self, times: Sequence[float] | NDArray[np.floating]) -> Shot:
        """The frames nearest to times, in the order of these.

        Args:
            times: seconds from the first shown frame, in any order. Before the first frame and
                after the last, these are repeated.

        Raises:
            ValueError: if the file is damaged where frames are wanted, or ends long before.
            ReadTimeoutError: at the deadline.
        """
        wanted = np.asarray(times, dtype=np.float64).reshape(-1)
        order = np.argsort(wanted, kind='stable')
        frames: list[Any] = [None] * len(wanted)
        shown = np.zeros(len(wanted))
        with collected(self.name):
            self._decoder.targets = (wanted[order] + self.origin).tolist()
            last: tuple[Any, Any] = (None, None)
            for place in order:
                found = self._find(float(wanted[place]) + self.origin)
                # Each frame has an array of its own: some transforms work in place.
                same = found is last[0]
                picture = last[1].copy() if same else self._convert(found.frame)
                last = (found, picture)
                frames[place], shown[place] = picture, found.time - self.origin
            self._decoder.targets = []
        return Shot(frames, shown)

    def every(
        self, fps: float | None = None, start: float = 0.0
    ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Seconds and picture of all frames, or of those nearest to even times, to the very last.

        Args:
            fps: frame k is the one nearest to ``start + k / fps``; None gives every frame.
            start: seconds to skip.
        """
        if fps is not None:
            yield from self._evenly(fps, start)
            return
        with collected(self.name):
            found: Decoded | None = self._find(start + self.origin)
        while found is not None:
            self._refuse_damage(found.time)
            if found.time - self.origin >= start - self.slack:
                yield found.time - self.origin, self._convert(found.frame)
            with collected(self.name):
                found = self._step() if found is self._ahead else self._ahead

    def _evenly(self, fps: float, start: float) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        for place in itertools.count():
            if place % _BLOCK == 0:
                block = range(place, place + 2 * _BLOCK)
                self._decoder.targets = [self.origin + start + number / fps for number in block]
            moment = self.origin + start + place / fps
            with collected(self.name):
                found = self._find(moment)
            if (
                self._ended
                and moment > self._ahead.time + self._decoder.lasts(self._ahead.frame) / 2 - 1e-6
            ):
                self._decoder.targets = []
                return
            yield found.time - self.origin, self._convert(found.frame)

    def _find(self, moment: float) -> Decoded:
        """The frame nearest to a time of the file's clock."""
        self._reach(moment)
        behind, ahead = self._behind, self._ahead
        nearer = ahead if 2 * (moment + self.slack) >= behind.time + ahead.time else behind
        decoder = self._decoder
        decoder.left_out = [t for t in decoder.left_out if t > behind.time]
        if missed := [t for t in decoder.left_out if t < ahead.time]:
            nearest = min(abs(t - moment) for t in missed)
            if nearest < abs(nearer.time - moment):  # an irregular file: leave out nothing
                self._decoder.careful = True
                self._jump(moment)
                return self._find(moment)
        self._refuse_damage(max(moment, nearer.time))
        promised = min(moment, self.origin + self.duration)
        if self._ended and promised > ahead.time + self._decoder.lasts(self._ahead.frame) + _SLACK:
            raise ValueError(
                f'{self.name}: ends after {ahead.time - self.origin:.2f} s, by its header after '
                f'{self.duration:.2f} s: it has been cut'
            )
        return nearer

    def _refuse_damage(self, moment: float) -> None:
        damage = self._decoder.damage
        if damage is not None and damage[0] <= moment + self.slack:
            raise ValueError(
                f'{self.name}: damaged at {damage[0] - self.origin:.2f} s: {damage[1]}'
            )

    def _reach(self, moment: float) -> None:
        """Decode until ``moment`` lies between two neighbouring frames, or outside of all."""
        back = moment < self._behind.time - self.slack and self._behind.time > self.origin
        ahead = not self._ended and self._decoder.worth_a_jump(moment, self._ahead.time)
        if back or ahead:
            self._jump(moment)
        while self._ahead.time < moment and self._step() is not None:
            pass

    def _jump(self, moment: float) -> None:
        self._behind = self._ahead = self._decoder.jump(moment)
        self._ended = False

    def _step(self) -> Decoded | None:
        """Decode one frame; None at the end."""
        found = self._decoder.step()
        if found is None:
            self._ended = True
            return None
        self._behind, self._ahead = self._ahead, found
        return found

    def _convert(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """An upright RGB picture."""
        picture = self._converter.reformat(frame, *self._size, format='rgb24', threads=1)
        return self.orientation.upright(picture.to_ndarray().astype(np.uint8, copy=False))

    def close(self) -> None:
        """Close the file."""
        self._decoder.close()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()


def _name_of(file: Any) -> str:
    if isinstance(file, bytes):
        return f'a video of {len(file)} bytes'
    return str(file) if isinstance(file, str | Path) else str(getattr(file, 'name', 'a video'))
