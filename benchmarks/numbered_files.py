"""Small videos of many kinds whose frames show their own number."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS = 10
CELL = 16
SIZE = (BITS * CELL, 96)
RATE = 30
FRAMES = 360


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: file name.
        codec: name of the encoder.
        options: of the encoder.
        settings: ``gop``, ``pix_fmt``, ``rate``, ``size``, ``frames``, ``times``, ``change``
            (what is done to the finished file), ``extra`` (called with the container before the
            video stream is made).
    """

    name: str
    codec: str
    options: dict[str, str]
    settings: dict[str, Any]

    @property
    def rate(self) -> int:
        """Frames per second."""
        return self.settings.get('rate', RATE)


@cache
def picture(number: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """A frame that shows ``number`` in ten cells of a strip, most significant bit first."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    grey = (96 + 40 * np.sin((columns + 2 * number) / 9) + 30 * np.cos(rows / 7)).astype(np.uint8)
    frame = np.stack([grey, grey, 255 - grey], -1)
    for bit in range(BITS):
        value = 255 if number >> (BITS - 1 - bit) & 1 else 0
        frame[32:64, bit * CELL : (bit + 1) * CELL] = value
    return frame


def number_of(frame: NDArray[np.uint8]) -> int:
    """The number that a decoded frame shows."""
    cells = frame[36:60, : BITS * CELL].reshape(24, BITS, CELL, 3)[:, :, 4:-4].mean((0, 2, 3))
    return int(''.join('1' if cell > 127 else '0' for cell in cells), 2)


def write(kind: Kind, folder: Path) -> Path:
    """Encode one file."""
    path = folder / kind.name
    settings = kind.settings
    if kind.codec == 'pillow':
        _write_with_pillow(path, settings.get('frames', FRAMES), kind.rate)
        return path
    options = settings.get('container', {})
    with _scheduled_as_before(), av.open(str(path), 'w', options=options) as container:
        before = settings.get('extra')
        finish = before(container) if before else None
        _encode(container, kind)
        if finish:
            finish()
    if 'change' in settings:
        settings['change'](path)
    return path


@contextmanager
def _scheduled_as_before() -> Iterator[None]:
    """Undo what SVT-AV1 does: where it may, as root, it makes the thread real-time, for good.

    What that thread starts later would be, too, and threads that poll, such as Gloo's, then keep
    the cores for themselves.
    """
    if not hasattr(os, 'sched_getscheduler'):  # macOS
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


def _encode(container: Any, kind: Kind, offset: int = 0) -> None:
    settings = kind.settings
    stream = container.add_stream(kind.codec, rate=kind.rate, options=dict(kind.options))
    size = settings.get('size', SIZE)
    stream.width, stream.height = size[::-1] if settings.get('turns') else size
    stream.pix_fmt = settings.get('pix_fmt', 'yuv420p')
    if 'gop' in settings:
        stream.gop_size = settings['gop']
    if settings.get('open'):
        settings['open'](stream)
    times = settings.get('times')
    if times is not None:
        stream.codec_context.time_base = Fraction(1, 1000)
    for number in range(settings.get('frames', FRAMES)):
        shown = np.rot90(picture(number + offset, size), settings.get('turns', 0))
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format='rgb24')
        if times is not None:
            frame.pts, frame.time_base = int(times[number]), Fraction(1, 1000)
        elif start := settings.get('start'):
            frame.pts, frame.time_base = number + start, Fraction(1, kind.rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode())


def _write_with_pillow(path: Path, frames: int, rate: int) -> None:
    pictures = [Image.fromarray(picture(number)) for number in range(frames)]
    first, *others = pictures
    first.save(path, save_all=True, append_images=others, duration=1000 // rate, quality=60)


def cut(begin: float, length: float) -> Callable[[Path], None]:
    """Keep a part of a finished file without encoding it again; it then has an edit list."""

    def run(path: Path) -> None:
        whole = path.with_name('whole_' + path.name)
        path.rename(whole)
        with av.open(str(whole)) as source, av.open(str(path), 'w') as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            source.seek(int(begin / stream.time_base), stream=stream)
            shift = int(begin / stream.time_base)
            for packet in source.demux(stream):
                if packet.dts is None or packet.dts * stream.time_base > begin + length:
                    break
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                target.mux(packet)
        whole.unlink()

    return run


def _cover(container: Any) -> Callable[[], None]:
    """A picture as first video stream."""
    stream = container.add_stream('mjpeg', rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, 'yuvj420p'
    stream.disposition = av.stream.Disposition.attached_pic

    def finish() -> None:
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format='rgb24')
        container.mux(stream.encode(frame))
        container.mux(stream.encode())

    return finish


def _sound(seconds: float) -> Callable[[Any], Callable[[], None]]:
    """A silent track of some length."""

    def before(container: Any) -> Callable[[], None]:
        stream = container.add_stream('aac', rate=16000)

        def finish() -> None:
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, int(16000 * seconds)), np.float32), format='fltp', layout='mono'
            )
            frame.rate = 16000
            container.mux(stream.encode(frame))
            container.mux(stream.encode())

        return finish

    return before


def _turned(stream: Any) -> None:
    stream.set_display_rotation(90)


def _uneven() -> NDArray[np.int64]:
    return np.cumsum(np.random.default_rng(3).integers(12, 60, FRAMES))


def kinds() -> list[Kind]:
    """All kinds; those whose encoder this FFmpeg lacks are left out."""
    x264 = {'preset': 'veryfast', 'bf': '3'}
    x265 = {'preset': 'ultrafast', 'x265-params': 'log-level=none'}
    open264 = x264 | {'x264-params': 'open-gop=1:keyint=48:min-keyint=48:scenecut=0'}
    svt = {'preset': '8', 'crf': '15', 'svtav1-params': 'lp=1'}
    entries: list[tuple[Any, ...]] = [
        ('h264_gop12.mp4', 'libx264', x264, dict(gop=12)),
        ('h264_gop250.mp4', 'libx264', x264, dict(gop=250)),
        ('h264_open_gop.mkv', 'libx264', open264, {}),
        ('h264_open_gop.mp4', 'libx264', open264, {}),
        ('h264_cut.mp4', 'libx264', x264, dict(gop=60, change=cut(3.3, 8.1))),
        ('h264_cut.mov', 'libx264', open264, dict(change=cut(1.7, 9.0))),
        ('hevc_cut.mp4', 'libx265', x265, dict(gop=60, change=cut(2.9, 8.4))),
        ('h264.avi', 'libx264', x264, dict(gop=48)),
        ('h264.ts', 'libx264', x264, dict(gop=48)),
        ('h264_open_gop.ts', 'libx264', open264, {}),
        ('h264.flv', 'libx264', x264, dict(gop=48)),
        ('h264_uneven.mkv', 'libx264', x264, dict(gop=48, times=_uneven())),
        ('h264_uneven.mp4', 'libx264', x264, dict(gop=48, times=_uneven())),
        ('h264_rotated.mp4', 'libx264', x264, dict(gop=48, turns=3, open=_turned)),
        ('h264_cover_first.mp4', 'libx264', x264, dict(gop=48, extra=_cover)),
        ('h264_long_sound.mkv', 'libx264', x264, dict(gop=48, extra=_sound(40))),
        ('h264_starts_late.mkv', 'libx264', x264, dict(gop=48, start=777)),
        ('h264_starts_late.ts', 'libx264', x264, dict(gop=48, start=777)),
        ('h264_odd_size.mkv', 'libx264', x264, dict(size=(171, 97), pix_fmt='yuv444p')),
        ('h264_full_range.mp4', 'libx264', x264, dict(gop=48, pix_fmt='yuvj420p')),
        ('h264_interlaced.mp4', 'libx264', x264 | {'x264-params': 'tff=1'}, dict(gop=48)),
        ('hevc_open_gop.mkv', 'libx265', x265, {}),
        ('hevc_2s_gop.mp4', 'libx265', x265, dict(gop=60)),
        ('hevc_10_bit.mp4', 'libx265', x265, dict(pix_fmt='yuv420p10le', gop=60)),
        ('hevc.ts', 'libx265', x265, dict(gop=60)),
        ('mpeg4.avi', 'mpeg4', {'bf': '2', 'b': '1M'}, {}),
        ('mpeg4.mp4', 'mpeg4', {'bf': '2', 'b': '1M'}, {}),
        ('mpeg2.mpg', 'mpeg2video', {'bf': '2', 'b': '2M'}, {}),
        ('mpeg2.ts', 'mpeg2video', {'bf': '2', 'b': '2M'}, {}),
        ('mpeg2.mxf', 'mpeg2video', {'bf': '2', 'b': '2M'}, {}),
        ('mpeg1.mpg', 'mpeg1video', {'bf': '2', 'b': '2M'}, {}),
        ('wmv2.wmv', 'wmv2', {'b': '1M'}, {}),
        ('flv1.flv', 'flv', {'b': '1M'}, {}),
        ('mpeg4.3gp', 'mpeg4', {'b': '1M'}, {}),
        ('vp8.webm', 'libvpx', {'b': '1M', 'deadline': 'realtime', 'cpu-used': '8'}, dict(gop=60)),
        (
            'vp9.webm',
            'libvpx-vp9',
            {'b': '1M', 'deadline': 'realtime', 'cpu-used': '8'},
            dict(gop=60),
        ),
        ('vp8.ogv', 'libvpx', {'b': '1M', 'deadline': 'realtime', 'cpu-used': '8'}, dict(gop=60)),
        ('av1.mp4', 'libsvtav1', svt, dict(gop=60)),
        ('av1.mkv', 'libsvtav1', svt, dict(gop=60)),
        ('mjpeg.avi', 'mjpeg', {}, dict(pix_fmt='yuvj420p')),
        ('ffv1.mkv', 'ffv1', {}, {}),
        ('prores.mov', 'prores_ks', {}, dict(pix_fmt='yuv422p10le')),
        ('animated.gif', 'gif', {}, dict(pix_fmt='rgb8', rate=25)),
        ('animated.webp', 'pillow', {}, dict(rate=25)),
    ]
    return [Kind(*entry) for entry in entries if _can_encode(entry[1])]


def _can_encode(codec: str) -> bool:
    try:
        return codec == 'pillow' or bool(av.codec.Codec(codec, 'w'))
    except ValueError:
        return False


def shown(path: Path, kind: Kind) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Seconds and numbers of all frames as a sequential decode shows them.

    At a constant rate, the seconds follow from the numbers: what a file says may be rounded or, in
    AVI, missing.
    """
    times, numbers = zip(*((moment, number_of(f)) for moment, f in _sequential(path)), strict=True)
    seconds = np.array(times) - times[0]
    if 'times' not in kind.settings:
        seconds = (np.array(numbers) - numbers[0]) / kind.rate
    return seconds, np.array(numbers)


def _sequential(path: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    if path.suffix == '.webp':
        with Image.open(path) as image:
            moment = 0.0
            for number in range(image.n_frames):
                image.seek(number)
                yield moment, np.asarray(image.convert('RGB'))
                moment += image.info['duration'] / 1000
        return
    with av.open(str(path)) as container:
        streams: Iterable[Any] = container.streams.video
        stream = next(s for s in streams if not s.disposition & s.disposition.attached_pic)
        for frame in container.decode(stream):
            array = frame.to_ndarray(format='rgb24')
            turn = {90: 1, -90: -1}.get(frame.rotation, 0)
            yield float(frame.time or 0.0), np.ascontiguousarray(np.rot90(array, turn))
