"""Predictions on pictures: captions, videos with labels, time lines.

Shape legend: S segments, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

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
        yield caption(picture, lines_of(begun[-1], names, k) if begun else [])


def draw_timeline(path: str | Path, parts: Sequence[Prediction], names: Sequence[str]) -> Path:
    """Write a PNG: probability of the likeliest classes over the time of one video.

    Args:
        path: the picture.
        parts: segments of one video; those that could not be read are gaps.
        names: of the classes.
    """
    read = [part for part in parts if part.scores is not None and part.segment is not None]
    figure = new_figure(8.0, 3.0)
    axis = figure.add_subplot()
    if read:
        scores = torch.stack([part.scores for part in read if part.scores is not None])
        chosen = scores.amax(0).topk(min(_MOST_LINES, scores.shape[1])).indices.tolist()
        middles = [sum(part.segment) / 2 for part in read if part.segment is not None]
        for label in chosen:
            axis.plot(middles, scores[:, label].tolist(), marker='.', label=names[label])
        axis.legend(fontsize='x-small', loc='center left', bbox_to_anchor=(1.0, 0.5))
    axis.set(xlabel='seconds (middle of the segment)', ylabel='probability', ylim=(0, 1.02))
    axis.set_title(Path(shown(parts[0].path)).name, fontsize='small')
    with replace_when_complete(path, durable=False) as temporary:
        figure.savefig(temporary, format='png', dpi=120)
    return Path(path)
