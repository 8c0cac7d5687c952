"""Write frames as videos: H.264 files which decode fast, and any other kind."""

import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

__all__ = ['SMALL', 'encode_video']

#: Every frame is coded on its own (``g=1``) with one constant quantiser: a clip can be cut out
#: without decoding what lies before it, and since neither prediction nor rate control looks at
#: other frames, coding noise tells nothing about the motion. `ultrafast` leaves out CABAC and the
#: loop filter, which cost the most to decode. One thread makes the bytes reproducible.
_X264_OPTIONS = {'preset': 'ultrafast', 'qp': '26', 'g': '1', 'threads': '1'}


#: To be looked at: frames are predicted from others.
SMALL = {'preset': 'veryfast', 'crf': '21'}


def encode_video(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    container: str = 'mp4',
    codec: str = 'libx264',
    options: Mapping[str, str] = _X264_OPTIONS,
    turned: bool = False,
) -> None:
    """Write a video in any container and codec that this FFmpeg has; by itself, H.264 in mp4.

    Args:
        path: File to write; its folder exists. Its suffix does not matter.
        frames: uint8 RGB, shape (T, H, W, 3), H and W even; or frames one by one, of which one is
            in memory at a time.
        fps: Frames per second.
        container: FFmpeg's name of it, such as ``matroska``.
        codec: FFmpeg's name of the encoder.
        options: Of the encoder; those by default are x264's and code every frame on its own, to be
            decoded fast.
        turned: Store pictures on their side and say so in the header, as phones do; they are
            shown upright.

    Raises:
        OSError: If the file cannot be written.
    """
    with av.open(str(path), 'w', format=container) as target:
        rate = Fraction(fps).limit_denominator(1001)
        stream: Any = target.add_stream(codec, rate=rate, options=dict(options))
        pictures = (np.rot90(frame, 3 if turned else 0) for frame in frames)
        first = next(pictures)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = 'yuv420p'
        if turned:
            stream.set_display_rotation(90)
        for frame in itertools.chain([first], pictures):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format='rgb24')
            target.mux(stream.encode(picture))
        target.mux(stream.encode())
