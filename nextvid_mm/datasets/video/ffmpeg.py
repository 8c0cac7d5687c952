"""What surrounds FFmpeg's decoders: messages, the choice of a stream, how pictures are turned."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import av
import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray

# Units that begin a sequence which shares nothing with what lies before it: by codec, a test of the
# unit's first byte. Elsewhere, order is certain from the start of the file only.
_CLOSED: dict[str, Any] = {
    'h264': lambda byte: byte & 31 == 5,
    'hevc': lambda byte: 16 <= byte >> 1 & 63 <= 20,
}
# Files that have had their line in this process; bounded, for runs over millions of files.
_SAID: dict[str, None] = {}
_MOST = 10_000


@contextmanager
def collected(name: str) -> Iterator[None]:
    """Keep FFmpeg's errors from the terminal; the first time a file has some, print one line.

    Args:
        name: of the file.
    """
    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    messages: list[tuple[int, str, str]] = []
    try:
        with av.logging.Capture(True) as messages:
            yield
    finally:
        av.logging.set_level(before)
    if messages and name not in _SAID:
        if len(_SAID) >= _MOST:
            _SAID.clear()
        _SAID[name] = None
        _, part, text = messages[0]
        more = f' (and {len(messages) - 1} more messages)' if len(messages) > 1 else ''
        print_log(
            f'{name}: FFmpeg says: {part}: {text.strip()}{more}',
            logger='current',
            level=logging.INFO,
        )


def pick_stream(container: Any, number: int | None, name: str) -> Any:
    """The wanted one of the real video streams: no cover, no thumbnails.

    Args:
        container: PyAV's.
        number: which one; None for the first.
        name: of the file, for messages.

    Raises:
        ValueError: if there is none, or not as many.
    """
    found = []
    for stream in container.streams.video:
        flags = getattr(stream, 'disposition', None)
        if flags and flags & (flags.attached_pic | flags.timed_thumbnails):
            continue
        if stream.codec_context is not None:
            found.append(stream)
    if not found:
        raise ValueError(f'{name}: has no video stream that can be decoded')
    if not 0 <= (number or 0) < len(found):
        raise ValueError(f'{name}: stream={number}, but it has {len(found)} video stream(s)')
    return found[number or 0]


def is_closed(packet: av.Packet, codec: str) -> bool:
    """Whether a packet begins a sequence that shares nothing with what lies before it."""
    test = _CLOSED.get(codec)
    units = re.finditer(rb'\x00\x00\x01(.)', bytes(packet), re.DOTALL)
    return test is not None and any(test(unit[1][0]) for unit in units)


class Orientation(NamedTuple):
    """One of the eight ways to lay out a picture.

    Attributes:
        transpose: swap rows and columns, before:
        flip_rows: turn upside down.
        flip_columns: mirror left and right.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def of(cls, frame: Any) -> Orientation:
        """That of a decoded frame's display matrix; any other angle becomes the nearest of these.

        Args:
            frame: PyAV's.
        """
        data = frame.side_data.get('DISPLAYMATRIX')
        if data is None:
            return cls()
        # A point (x, y) is shown at (a·x + c·y, b·x + d·y).
        a, b, _, c, d = np.frombuffer(bytes(data), dtype='=i4')[:5].tolist()
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(True, b < 0, c < 0)
        return cls(False, d < 0, a < 0)

    def upright(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture ``(H, W, 3)`` as it is shown, contiguous."""
        if self == Orientation():
            return picture
        if self.transpose:
            picture = picture.transpose(1, 0, 2)
        if self.flip_rows:
            picture = picture[::-1]
        if self.flip_columns:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture)


def reason_of(error: av.error.FFmpegError) -> str:
    """FFmpeg's words for what is wrong."""
    return str(error.strerror or error)
