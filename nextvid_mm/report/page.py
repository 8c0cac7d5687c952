"""A report as plain data, and the one template that lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from nextvid_mm.visualization.figures import data_uri, figure_image

_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture that holds itself.

    Attributes:
        caption: stands above it.
        uri: its content as a ``data:`` address.
        drawing: black on white, which a dark page may show white on black; False for photographs.
        wide: takes the page's whole width.
    """

    caption: str
    uri: str
    drawing: bool = True
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ''


@dataclass(frozen=True)
class Strip:
    """Small pictures in a row under a title."""

    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        title: heading.
        text: paragraphs.
        tables: tables; side by side where there is room.
        pictures: pictures.
        strips: rows of small pictures.
        details: pairs of a summary and preformatted text that is folded away.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    strips: Sequence[Strip] = ()
    details: Sequence[tuple[str, str]] = ()


def drawing(caption: str, figure: Figure) -> Picture:
    """A Matplotlib figure as a picture."""
    return Picture(caption, data_uri(figure_image(figure)))


def photograph(caption: str, image: Image.Image, wide: bool = True) -> Picture:
    """Frames of videos as a picture."""
    return Picture(caption, data_uri(image, _JPEG_QUALITY), drawing=False, wide=wide)


def render(title: str, sections: Sequence[Section]) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader('nextvid_mm.report', '.'), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template('page.html.j2')
    return template.render(title=title, sections=sections, now=datetime.now())
