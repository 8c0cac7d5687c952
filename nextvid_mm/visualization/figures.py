"""Matplotlib without a screen, and pictures as text that an HTML page can hold."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

#: Colours that stay apart also for people who see no red or no green (Okabe and Ito).
COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#000000', '#999999')


def new_figure(width: float = 5.2, height: float = 2.6) -> Figure:
    """An empty figure of ``width`` x ``height`` inches that needs no display."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def figure_image(figure: Figure, dpi: int = 150) -> Image.Image:
    """Render a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png', dpi=dpi)
    return Image.open(buffer).convert('RGB')


def data_uri(image: Image.Image, quality: int | None = None) -> str:
    """A picture as a ``data:`` address.

    Args:
        image: the picture.
        quality: of JPEG, for photographs; None for lossless PNG, best for curves.
    """
    buffer = io.BytesIO()
    kind = 'png' if quality is None else 'jpeg'
    options = dict(optimize=True) if quality is None else dict(quality=quality)
    image.convert('RGB').save(buffer, format=kind, **options)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def shade_spans(axes: Sequence, spans: Sequence[tuple[str, int, int]]) -> None:
    """Shade every other stretch of the horizontal axis and write its name above it.

    Args:
        axes: Matplotlib axes.
        spans: name, first and last step of each.
    """
    for axis in axes:
        for number, (name, first, last) in enumerate(spans):
            axis.axvspan(first, last, color='#8899aa', alpha=0.18 if number % 2 else 0.07, lw=0)
            axis.text(
                (first + last) / 2,
                1.01,
                name,
                transform=axis.get_xaxis_transform(),
                ha='center',
                va='bottom',
                fontsize=7.5,
                color='#555555',
            )
