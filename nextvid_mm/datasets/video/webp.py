"""Animated WebP, which FFmpeg does not decode, behind the parts of PyAV that the reader uses."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
from PIL import Image, UnidentifiedImageError

# Milliseconds that a frame is shown where the file says 0, as browsers have it.
_USUAL = 100


class WebPContainer:
    """Frames of an animation as packets that decode to themselves.

    Args:
        file: path, or file opened for reading bytes.
        name: of the file, for messages.

    Raises:
        ValueError: if it is damaged.
    """

    def __init__(self, file: Any, name: str) -> None:
        content = Path(file).read_bytes() if isinstance(file, str) else file.read()
        try:
            self._image: Any = Image.open(io.BytesIO(content), formats=['WEBP'])
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f'{name}: cannot be read as WebP: {error}') from error
        self.name = name
        self.format = SimpleNamespace(name='webp')
        self.duration = self.start_time = None
        lengths = _lengths(content) or [_USUAL]
        stream = SimpleNamespace(
            codec_context=SimpleNamespace(name='webp', skip_frame='DEFAULT'),
            time_base=Fraction(1, 1000),
            start_time=0,
            duration=sum(lengths),
            average_rate=Fraction(1000 * len(lengths), sum(lengths)),
            guessed_rate=None,
            metadata={},
            index_entries=(),
        )
        self.streams = SimpleNamespace(video=[stream])

    def demux(self, stream: Any) -> Iterator[Any]:
        """All frames, from the first."""
        moment = 0
        for number in range(self._image.n_frames):
            try:
                self._image.seek(number)
                frame = av.VideoFrame.from_image(self._image.convert('RGB'))
            except (OSError, EOFError, SyntaxError) as error:
                raise ValueError(f'{self.name}: damaged at frame {number}: {error}') from error
            length = self._image.info.get('duration') or _USUAL
            frame.pts, frame.time_base, frame.duration = moment, stream.time_base, length
            yield _Packet(frame)
            moment += length

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def _lengths(content: bytes) -> list[int]:
    """Milliseconds that each frame is shown, by its header; none of a picture that stands still."""
    lengths, place = [], 12
    while len(head := content[place : place + 24]) == 24:
        if head[:4] == b'ANMF':
            lengths.append(int.from_bytes(head[20:23], 'little') or _USUAL)
        size = int.from_bytes(head[4:8], 'little')
        place += 8 + size + size % 2
    return lengths


class _Packet:
    """A decoded frame that looks like a packet."""

    is_keyframe, size = True, 1

    def __init__(self, frame: av.VideoFrame) -> None:
        self.frame, self.pts, self.dts, self.duration = frame, frame.pts, frame.pts, frame.duration

    def decode(self) -> list[av.VideoFrame]:
        """The frame."""
        return [self.frame]


def is_webp(file: Any) -> bool:
    """Whether a path or a file (which is read from its beginning and left there) is WebP."""
    if isinstance(file, str):
        with open(file, 'rb') as opened:
            head = opened.read(12)
    else:
        head = file.read(12)
        file.seek(0)
    return head[:4] == b'RIFF' and head[8:] == b'WEBP'
