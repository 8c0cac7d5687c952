"""Names of any script in pictures that matplotlib draws."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from mmengine.utils import digit_version

FAMILIES = (
    'DejaVu Sans',
    'Noto Sans CJK SC',
    'Noto Sans CJK JP',
    'Noto Sans CJK KR',
    'Source Han Sans SC',
    'WenQuanYi Zen Hei',
    'WenQuanYi Micro Hei',
    'Droid Sans Fallback',
    'PingFang SC',
    'Hiragino Sans',
    'Apple SD Gothic Neo',
    'Microsoft YaHei',
    'Malgun Gothic',
    'Arial Unicode MS',
    'Noto Sans Devanagari',
    'Noto Sans Thai',
    'Noto Emoji',
    'Symbola',
    'Unifont',
)
"""Fonts that together draw most scripts; matplotlib takes the first that has a letter."""


def text_settings() -> dict[str, Any]:
    """Settings (``rcParams``) with which texts are drawn: installed fonts, ``$`` is a letter."""
    return {'font.family': list(installed()), 'text.parse_math': False}


@contextmanager
def lettering() -> Iterator[None]:
    """Draw with :func:`text_settings`; also a decorator."""
    import matplotlib

    with matplotlib.rc_context(text_settings()):
        yield


@cache
def installed() -> dict[str, frozenset[int]]:
    """The letters of each of :data:`FAMILIES` that is installed."""
    from matplotlib import font_manager

    there = {entry.name for entry in font_manager.fontManager.ttflist}
    return {
        name: frozenset(font_manager.get_font(font_manager.findfont(name)).get_charmap())
        for name in FAMILIES
        if name in there
    }


def drawable(text: str) -> str:
    r"""A text as :func:`text_settings` can draw it.

    Letters that no font has are written as their code (``\\\\u0645``), and so are scripts from
    right to left before matplotlib 3.11, which draws them in the wrong order: wrong letters would
    be worse.
    """
    return ''.join(letter if _is_drawable(letter) else _code(letter) for letter in text)


def _is_drawable(letter: str) -> bool:
    if unicodedata.bidirectional(letter) in ('R', 'AL') and not _orders_letters():
        return False
    return any(ord(letter) in letters for letters in installed().values())


@cache
def _orders_letters() -> bool:
    """Whether matplotlib draws from right to left, and joins letters, where a script does."""
    import matplotlib

    return digit_version(matplotlib.__version__) >= digit_version('3.11')


def _code(letter: str) -> str:
    return letter.encode('unicode_escape').decode()
