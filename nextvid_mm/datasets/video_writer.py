"""Write frames as H.264 files which decode fast."""

import itertools
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

__all__ = ['SMALL', 'encode_h264']

#: Every frame is coded on its own (``g=1``) with one constant quantiser: a clip can be cut out
#: without decoding what lies before it, and since neither prediction nor rate control looks at
#: other frames, coding noise tells nothing about the motion. `ultrafast` leaves out CABAC and the
#: loop filter, which cost the most to decode. One thread makes the bytes reproducible.
_X264_OPTIONS = {'preset': 'ultrafast', 'qp': '26', 'g': '1', 'threads': '1'}


#: To be looked at: frames are predicted from others.
SMALL = {'preset': 'veryfast', 'crf': '21'}


def encode_h264(
    path: Path,
    frames: Iterable[np.ndarray],
    fps: float,
    options: Mapping[str, str] | None = None,
) -> None:
    """Write a clip as mp4, whatever the suffix of the file name.

    Args:
        path: File to write; its folder exists.
        frames: uint8 RGB, shape (T, H, W, 3), H and W even; or frames one by one, of which one is
            in memory at a time.
        fps: Frames per second.
        options: Of x264; None codes every frame on its own, to be decoded fast.

    Raises:
        OSError: If the file cannot be written.
    """
    with av.open(str(path), 'w', format='mp4') as container:
        stream = container.add_stream(
            'libx264',
            rate=Fraction(fps).limit_denominator(1001),
            options=dict(options or _X264_OPTIONS),
        )
        pictures = iter(frames)
        first = next(pictures)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = 'yuv420p'
        for frame in itertools.chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())
