"""Finds videos and pictures: suffixes, lists and folders, the same for datasets and tools."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

from nextvid_mm.files import INSIDE

VIDEO_EXTENSIONS = (
    *('.mp4', '.m4v', '.mov', '.3gp', '.mkv', '.webm', '.avi', '.wmv', '.flv', '.ogv'),
    *('.mpg', '.mpeg', '.ts', '.mts', '.m2ts', '.mxf', '.gif'),
)
IMAGE_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.ppm', '.tif', '.tiff')
MEDIA_EXTENSIONS = (*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)
# Labels are separated by blanks and tabs only; any other character may be part of a name.
_END = re.compile(rb'\r\n|\n|\r')
_LABELLED = re.compile(r'(.*[^ \t])[ \t]+([+-]?[0-9]+)', re.DOTALL)
_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*")(?:[ \t]+([+-]?[0-9]+))?', re.DOTALL)


def is_image(path: str | Path) -> bool:
    """Whether a file is a still picture, by its suffix; animated WebP is video, and so is GIF.

    Raises:
        OSError: if a ``.webp`` file cannot be read.
    """
    name = str(path).lower()
    return name.endswith(IMAGE_EXTENSIONS) and not (name.endswith('.webp') and _is_animated(path))


def _is_animated(path: str | Path) -> bool:
    if '://' in str(path) or INSIDE in str(path):
        return False
    with open(path, 'rb') as file:
        head = file.read(21)
    return head[12:16] == b'VP8X' and len(head) == 21 and bool(head[20] & 2)


# -- lists ------------------------------------------------------------------------------------


class ListedFile(NamedTuple):
    """One file of a list."""

    path: str
    label: int
    """-1 without one."""
    line: int
    """Number of the line, from 1."""
    text: str
    """The line itself."""


def read_list(path: str | Path) -> list[ListedFile]:
    """Files named in a list on a local disk; see :func:`parse_list`."""
    return parse_list(Path(path).read_bytes(), str(path))


def parse_list(content: bytes, name: str) -> list[ListedFile]:
    """Files of a list: ``path`` or ``path label`` a line, in UTF-8.

    Blank lines and lines that begin with ``#`` are skipped. Lines end in LF, CR LF or CR; blanks
    and tabs around a path are no part of it, those inside are. A path may be written as a JSON
    string, in double quotes, and must be where it begins with ``#`` or a quote, ends in a number
    that is no label, or holds an end of line or bytes that are no UTF-8.

    Args:
        content: of the list.
        name: of the list, for messages.

    Raises:
        ValueError: if a line cannot be read; names list and line.
    """
    return list(iterate_list(io.BytesIO(content), name))


def iterate_list(file: IO[bytes], name: str) -> Iterator[ListedFile]:
    """Files of an opened list, one after the other; see :func:`parse_list`."""
    for number, raw in enumerate(_lines(file, name), start=1):
        try:
            line = raw.decode('utf-8').strip(' \t')
        except UnicodeDecodeError as error:
            raise ValueError(
                f'{name}, line {number}: {raw[:80]!r} is not UTF-8 ({error.reason}); save the list '
                'as UTF-8'
            ) from error
        if '\0' in line:
            raise ValueError(f'{name}, line {number}: {line[:80]!r} has a zero byte: not UTF-8?')
        if line and not line.startswith('#'):
            yield ListedFile(*_split(line, f'{name}, line {number}'), number, line)


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Lines without their ends; the last one, behind the last end, may be empty."""
    rest = file.read(3)
    if rest.startswith((b'\xff\xfe', b'\xfe\xff')):
        raise ValueError(f'{name}, line 1: the list is in UTF-16; save it as UTF-8')
    rest = rest.removeprefix(b'\xef\xbb\xbf')
    while block := file.read(1 << 22):
        block = rest + block
        # The LF of a CR LF may be in the next block.
        held = block[-1:] if block.endswith(b'\r') else b''
        *lines, rest = (
            _END.split(block.removesuffix(held)) if b'\r' in block else block.split(b'\n')
        )
        rest += held
        yield from lines
    yield from _END.split(rest)


def _split(line: str, where: str) -> tuple[str, int]:
    """Path and label of a line."""
    if line.startswith('"'):
        match = _QUOTED.fullmatch(line)
        try:
            path = json.loads(match[1], strict=False) if match else ''
        except json.JSONDecodeError:
            path = ''
        if not match or not path:
            raise ValueError(
                f'{where}: {line[:80]!r} begins with a quote but is no JSON string with an '
                'optional label'
            )
        return path, int(match[2] or -1)
    match = _LABELLED.fullmatch(line)
    return (match[1], int(match[2])) if match else (line, -1)


def format_line(path: str, label: int | None = None) -> str:
    """The line of a list that :func:`parse_list` reads back as this path and label.

    Args:
        path: any name that a file system allows.
        label: None for none.
    """
    ending = '' if label is None else f' {label}'
    plain = (
        path == path.strip(' \t')
        and not path.startswith(('#', '"', '\ufeff'))
        and not re.search(r'[\r\n\ud800-\udfff]', path)
        and (label is not None or not _LABELLED.fullmatch(path))
    )
    return (path if plain else json.dumps(path)) + ending


# -- folders ----------------------------------------------------------------------------------


@dataclass
class Found:
    """What a walk through a folder found.

    Attributes:
        files: paths, sorted.
        skipped: number of files by suffix that are not wanted; hidden files do not count.
        circles: links that lead back to a folder around them.
        closed: folders that may not be read.
    """

    files: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    circles: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """One sentence for each kind of thing that was left out."""
        found = []
        if self.skipped:
            kinds = ', '.join(f'{n} {kind or "without suffix"}' for kind, n in self.skipped.items())
            found.append(f'skipped by their suffix: {kinds}')
        if self.circles:
            found.append(f'links that lead in a circle, not followed: {", ".join(self.circles)}')
        if self.closed:
            found.append(f'folders without permission to read: {", ".join(self.closed)}')
        return found


def walk(folder: str | Path, extensions: Sequence[str] = MEDIA_EXTENSIONS) -> Found:
    """All files below a folder that end in one of some suffixes.

    Links to folders are followed. Hidden files and folders (``.name``, and so the ``._name`` of
    macOS) are left out. A link without a target is a file: whoever reads it finds it missing.

    Args:
        folder: where to look.
        extensions: suffixes in lower case.
    """
    found = Found()
    endings = tuple(extensions)
    for path in _below(str(folder), found, ()):
        if path.lower().endswith(endings):
            found.files.append(path)
        else:
            found.skipped[Path(path).suffix.lower()] += 1
    found.files.sort()
    return found


def _below(folder: str, found: Found, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Files below a folder; ``above`` identifies the folders around it."""
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except PermissionError:
        found.closed.append(folder)
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        found.circles.append(folder)
        return
    for entry in entries:
        if entry.name.startswith('.'):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link to itself
            found.circles.append(entry.path)
            continue
        if is_folder:
            yield from _below(entry.path, found, (*above, here))
        elif entry.is_file() or entry.is_symlink():
            yield entry.path
