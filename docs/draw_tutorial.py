"""Make the pictures of ``docs/tutorial.md`` of what its commands left in the current folder."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from nextvid_mm.datasets.video.reader import VideoReader

DOCS = Path(__file__).parent
MOST_BYTES = 60_000
STREAM, MOMENTS = 'stream.mp4', (1.0, 4.0, 5.0, 5.7)
REPORT = 'work_dirs/my_clips/pretrain/report.html'


def small(picture: Image.Image, width: int = 900) -> bytes:
    """A PNG of fewer than ``MOST_BYTES``: fewer colours, then fewer pixels."""
    picture = picture.convert('RGB')
    while True:
        size = (min(width, picture.width), round(picture.height * min(1, width / picture.width)))
        for colours in (256, 64, 32):
            buffer = io.BytesIO()
            picture.resize(size, Image.Resampling.LANCZOS).quantize(colours).save(
                buffer, 'png', optimize=True
            )
            if buffer.tell() < MOST_BYTES:
                return buffer.getvalue()
        width = round(0.8 * size[0])


def frames_of(path: str, moments: tuple[float, ...]) -> Image.Image:
    """Frames of a video side by side."""
    with VideoReader(path) as video:
        return Image.fromarray(np.hstack(video.frames_at(list(moments)).frames))


def first_picture(page: str) -> Image.Image:
    """The first picture of a report: its curves."""
    (data, *_) = re.findall(r'data:image/png;base64,([^"]+)', Path(page).read_text())
    return Image.open(io.BytesIO(base64.b64decode(data)))


if __name__ == '__main__':
    text = (DOCS / 'tutorial.md').read_text(encoding='utf-8')
    shown = re.findall(r'!\[[^\]]*\]\((\S+) "(\S+)"\)', text)
    pictures = {target: Image.open(source) for target, source in shown}
    pictures['figures/tutorial/stream.png'] = frames_of(STREAM, MOMENTS)
    pictures['figures/tutorial/curves.png'] = first_picture(REPORT)
    for target, picture in pictures.items():
        (DOCS / target).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / target).write_bytes(small(picture))
