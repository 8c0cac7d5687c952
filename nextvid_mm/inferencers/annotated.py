"""Predictions on pictures: captions, videos with labels, time lines.

Shape legend: S segments, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nextvid_mm.datasets.video.files import is_image
from nextvid_mm.datasets.video.pictures import load_picture
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.datasets.video_writer import SMALL, encode_video
from nextvid_mm.files import replace_when_complete, shown
from nextvid_mm.inferencers.predictions import Prediction
from nextvid_mm.lettering import drawable, lettering
from nextvid_mm.visualization.figures import new_figure

_MOST_LINES = 8  # classes in a time line


def caption(picture: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """A picture with lines of text over its top, on a dark band; height and width become even.

    Args:
        picture: RGB ``(height, width, 3)``, uint8.
        lines: the first above.
    """
    height, width = (side + side % 2 for side in picture.shape[:2])
    image = Image.new('RGB', (width, height))
    image.paste(Image.fromarray(picture))
    size = max(9, height // 18)
    draw, font = ImageDraw.Draw(image, 'RGBA'), ImageFont.load_default(size)
    step = size + size // 4
    draw.rectangle((0, 0, width, step * len(lines) + size // 4), fill=(0, 0, 0, 160))
    for number, line in enumerate(lines):
        draw.text((size // 3, number * step + 1), line, fill='white', font=font)
    return np.asarray(image)


def lines_of(prediction: Prediction, names: Sequence[str], k: int) -> list[str]:
    """``name 93 %``, or why there is none."""
    if prediction.failure is not None:
        return [prediction.failure]
    return [f'{e["name"]}  {e["probability"]:.0%}' for e in prediction.top(names, k)]


def write_annotated(
    stem: str | Path, parts: Sequence[Prediction], names: Sequence[str], k: int = 3
) -> Path:
    """Write a video again with its labels; an image becomes a PNG.

    Args:
        stem: path to write to, without the suffix.
        parts: what it is; of several segments, the newest that has begun is shown.
        names: of the classes.
        k: lines of text.

    Returns:
        What was written.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(parts[0].path)
    suffix = '.png' if is_image(path) else '.mp4'
    target = Path(f'{stem}{suffix}')
    with replace_when_complete(target, durable=False) as temporary:
        if suffix == '.png':
            picture = load_picture(parts[0].file)
            captioned = caption(picture, lines_of(parts[0], names, k))
            Image.fromarray(captioned).save(temporary, format='PNG')
            return target
        with VideoReader(parts[0].file) as video:
            rate = min(max(video.rate, 1.0), 120.0)
            encode_video(temporary, _annotated(video, rate, parts, names, k), rate, options=SMALL)
    return target


def _annotated(
    video: VideoReader, rate: float, parts: Sequence[Prediction], names: Sequence[str], k: int
) -> Iterator[NDArray[np.uint8]]:
    for time, picture in video.every(rate):
        begun = [part for part in parts if part.segment is None or part.segment[0] <= time]
        newest = max(begun, key=lambda part: part.segment or (0.0, 0.0), default=None)
        yield caption(picture, [] if newest is None else lines_of(newest, names, k))


@lettering()
def draw_timeline(path: str | Path, parts: Sequence[Prediction], names: Sequence[str]) -> Path:
    """Write a PNG: probability of the likeliest classes over the time of one video.

    Args:
        path: the picture.
        parts: segments of one video, in any order; those that could not be read are gaps.
        names: of the classes.
    """
    pairs = [(sum(part.segment) / 2, part.scores) for part in parts if part.segment is not None]
    placed = sorted(pairs, key=lambda pair: pair[0])
    figure = new_figure(8.0, 3.0)
    axis = figure.add_subplot()
    if read := [scores for _, scores in placed if scores is not None]:
        best = torch.stack(read).amax(0)
        chosen = best.topk(min(_MOST_LINES, len(best))).indices.tolist()
        for label in chosen:
            shares = [math.nan if s is None else float(s[label]) for _, s in placed]
            axis.plot([middle for middle, _ in placed], shares, marker='.')
        shown_names = [drawable(names[label]) for label in chosen]
        place: dict[str, Any] = dict(loc='center left', bbox_to_anchor=(1.0, 0.5))
        axis.legend(axis.lines, shown_names, fontsize='x-small', **place)
    axis.set(xlabel='seconds (middle of the segment)', ylabel='probability', ylim=(0, 1.02))
    axis.set_title(drawable(Path(shown(parts[0].path)).name), fontsize='small')
    with replace_when_complete(path, durable=False) as temporary:
        figure.savefig(temporary, format='png', dpi=120)
    return Path(path)
