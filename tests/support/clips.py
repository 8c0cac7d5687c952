"""Tiny clips, and the eight ways (and more) in which a file is not one."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from nextvid_mm.datasets.video.reader import VideoReader

SIZE = 32  # pixels
CORRUPTIONS = (
    'empty',
    'text',
    'head_cut',
    'tail_cut',
    'middle_cut',
    'no_moov',
    'audio_only',
    'zero_frames',
    'forbidden',
    'missing',
)


def pictures_of(path):
    """All pictures of a video, in a list."""
    with VideoReader(path) as video:
        return [picture for _, picture in video.every()]


def write_clip(path, num_frames=24, rate=Fraction(8), times=None, width=SIZE):
    """Write a clip whose frame k is grey level 4·k; ``times`` (in ms) make its rate variable."""
    with av.open(str(path), 'w', options={'movflags': 'faststart'}) as container:
        stream = container.add_stream('libx264', rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, SIZE, 'yuv420p'
        stream.options = {'g': '12', 'bf': '2', 'preset': 'ultrafast', 'crf': '10'}
        if times is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for k in range(num_frames):
            pixels = np.full((SIZE, width, 3), 4 * (k % 60), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format='rgb24')
            if times is not None:
                frame.pts, frame.time_base = int(times[k]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def write_without_frames(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=8)
        stream.width = stream.height = SIZE
        stream.pix_fmt = 'yuv420p'
        container.start_encoding()


def write_audio_only(path):
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('aac', rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 16000), np.float32), format='fltp', layout='mono'
        )
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_corrupt(path, kind, good):
    """Write a file of one of ``CORRUPTIONS``, given the bytes of a clip with its moov box first."""
    third, moov = len(good) // 3, good.index(b'moov') - 4
    after_moov = moov + int.from_bytes(good[moov : moov + 4], 'big')
    contents = {
        'empty': b'',
        'text': b'this is not a video\n' * 50,
        'head_cut': good[third:],
        'tail_cut': good[: 2 * third],
        'middle_cut': good[:third] + good[2 * third :],
        'no_moov': good[:moov] + good[after_moov:],
        'forbidden': good,
    }
    if kind in contents:
        Path(path).write_bytes(contents[kind])
    if kind == 'forbidden':
        os.chmod(path, 0)  # root reads it all the same, unless permissions.as_ordinary_user()
    if kind == 'audio_only':
        write_audio_only(path)
    if kind == 'zero_frames':
        write_without_frames(path)
