"""Clips in uncompressed tar files, in the layout of WebDataset, read one by one.

A table, ``clips.csv`` beside the tar files, says where each clip lies: it is a list as any other
(:mod:`nextvid_mm.datasets.list_index`). A clip is then a range of bytes, on a disk or behind an
address; nothing is unpacked, and any clip can be read at any time.
"""

from __future__ import annotations

import csv
import json
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.video.files import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS
from nextvid_mm.files import INSIDE, is_remote, replace_when_complete, shown
from nextvid_mm.storage import RangeFile, Storage

TABLE = 'clips.csv'
HEADER = ('path', 'member', 'offset', 'size', 'label', 'start', 'end')
_BLOCK = tarfile.BLOCKSIZE
_LABEL_MEMBERS = ('.cls', '.txt', '.json')


def open_member(
    storage: Storage, filename: str, part: Sequence[int], deadline: float | None = None
) -> RangeFile:
    """Open a file inside a tar file as an index says it lies there.

    Args:
        storage: how remote tar files are fetched.
        filename: path or address of the tar file, ``::``, and the name inside.
        part: first byte and number of bytes.
        deadline: ``time.monotonic()`` at which to give up.

    Raises:
        ValueError: if the tar file holds something else there.
        OSError: as of ``Storage.open``.
    """
    archive, _, member = filename.rpartition(INSIDE)
    offset, size = part
    # The header comes just before the content: it costs no request of its own.
    file = storage.open(archive, (offset - _BLOCK, size + _BLOCK), deadline)
    try:
        found = tarfile.TarInfo.frombuf(file.read(_BLOCK), 'utf-8', 'surrogateescape')
        fits = found.size == size
    except tarfile.HeaderError:
        fits = False
    if not fits:
        file.close()
        raise ValueError(
            f'{file.name} holds no file of {size} bytes at {offset}, where its index has {member}: '
            'the tar file is not the one that was indexed; index it again'
        )
    file.drop(_BLOCK)
    return file


def open_file(
    storage: Storage, path: str, part: Sequence[int] | None, deadline: float | None = None
) -> RangeFile:
    """Open a file wherever it lies, in a tar file where it has a ``part``; see ``Storage.open``."""
    if part is not None:
        return open_member(storage, path, part, deadline)
    return storage.open(path, deadline=deadline)


def opened(
    clip: str | Path | ListedClip, storage: Storage | None = None, deadline: float | None = None
) -> str | IO[bytes]:
    """What a reader takes for a clip: the path of a file on a disk, any other opened.

    Args:
        clip: path, address, or entry of a list.
        storage: how remote files are fetched.
        deadline: ``time.monotonic()`` at which to give up.

    Raises:
        ValueError, OSError: as of :func:`open_member`.
    """
    path, part = (clip.path, clip.part) if isinstance(clip, ListedClip) else (str(clip), None)
    if part is None and not is_remote(path):
        return path
    return cast(IO[bytes], open_file(storage or Storage(), path, part, deadline))


class Member(NamedTuple):
    """One clip or picture of a tar file."""

    name: str
    offset: int
    size: int
    label: int
    """-1 without one."""


def read_members(
    archive: str | Path,
    storage: Storage | None = None,
    label_key: str | None = None,
    classes: Mapping[str, int] | None = None,
) -> Iterator[Member]:
    """Clips and pictures of a tar file, by reading headers and labels alone.

    Files of one name up to the first dot of its last part belong together, as in WebDataset: the
    label of ``a/b.mp4`` is in ``a/b.cls``, ``a/b.txt`` or ``a/b.json``.

    Args:
        archive: path or address.
        storage: how a remote one is fetched.
        label_key: key of the label in ``.json`` members; without it, ``.cls`` and ``.txt`` members
            that hold a whole number, and the key ``label``, are looked at.
        classes: label by name, where labels are names.

    Raises:
        ValueError: if the file is compressed, is no tar file, is cut off, or a label is none.
    """
    file = (storage or Storage()).open(archive)
    group: list[tuple[str, int, int]] = []
    labels: dict[str, int] = {}
    try:
        with tarfile.open(fileobj=file, mode='r:') as tar:
            for info in tar:
                if not info.isfile():
                    continue
                if info.offset_data + info.size > file.size:
                    raise tarfile.ReadError('it ends in the middle of a file')
                key, suffix = _split(info.name)
                if group and _split(group[0][0])[0] != key:
                    yield from _grouped(group, labels)
                    group, labels = [], {}
                if suffix.endswith((*VIDEO_EXTENSIONS, *IMAGE_EXTENSIONS)):
                    group.append((info.name, info.offset_data, info.size))
                elif suffix in _LABEL_MEMBERS:
                    content = tar.extractfile(info).read()  # type: ignore[union-attr]
                    where = f'{shown(archive)}{INSIDE}{info.name}'
                    found = _label(content, suffix, label_key, classes, where)
                    labels |= {key: found} if found is not None else {}
            yield from _grouped(group, labels)
    except tarfile.TarError as error:
        raise ValueError(f'{shown(archive)} {_fault(file, error)}') from None
    finally:
        file.close()


def _split(name: str) -> tuple[str, str]:
    """Name without its endings, and these in lower case."""
    folder, _, last = name.rpartition('/')
    stem, dot, suffix = last.partition('.')
    return f'{folder}/{stem}', dot + suffix.lower()


def _grouped(group: Iterable[tuple[str, int, int]], labels: Mapping[str, int]) -> Iterator[Member]:
    for name, offset, size in group:
        yield Member(name, offset, size, labels.get(_split(name)[0], -1))


def _label(
    content: bytes,
    suffix: str,
    key: str | None,
    classes: Mapping[str, int] | None,
    where: str,
) -> int | None:
    """The label that a member holds; None if it is none's."""
    value: Any
    if suffix == '.json':
        try:
            value = json.loads(content).get(key or 'label')
        except (ValueError, AttributeError) as error:
            raise ValueError(f'{where} is no JSON object: {error}') from None
        if value is None and key is not None:
            raise ValueError(f'{where} has no key {key!r}')
    else:
        value = content.decode('utf-8', 'replace').strip()
    if value is None or isinstance(value, bool):
        return None
    if classes and str(value) in classes:
        return classes[str(value)]
    try:
        return int(value)
    except (TypeError, ValueError):
        if suffix == '.txt' and key is None and not classes:
            return None  # a caption
        known = f'; the classes are {", ".join(list(classes)[:8])}, ...' if classes else ''
        raise ValueError(f'{where}: the label {value!r} is no whole number{known}') from None


def _fault(file: RangeFile, error: Exception) -> str:
    """What is wrong with a tar file that could not be read."""
    file.seek(0)
    head = file.read(6) or b''
    for name, magic in (('gzip', b'\x1f\x8b'), ('xz', b'\xfd7zXZ'), ('bzip2', b'BZh'),
                        ('zstd', b'\x28\xb5\x2f\xfd')):  # fmt: skip
        if head.startswith(magic):
            return f'is compressed ({name}): unpack it, clips are read out of its middle'
    return f'is no complete tar file: {error}'


def index_shards(
    archives: Iterable[str | Path],
    table: str | Path,
    storage: Storage | None = None,
    **options: Any,
) -> int:
    """Write the table of clips of tar files that exist, without changing these.

    Args:
        archives: paths or addresses. Those below the table's folder are written relative to it.
        table: the ``.csv`` file.
        storage: how remote ones are fetched.
        options: of :func:`read_members`.

    Returns:
        How many clips there are.
    """
    count = 0
    folder = Path(table).resolve().parent
    with replace_when_complete(table) as temporary, temporary.open('w', newline='') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(HEADER)
        for archive in archives:
            name = str(archive)
            if not is_remote(name) and Path(name).resolve().is_relative_to(folder):
                name = os.path.relpath(Path(name).resolve(), folder)
            for member in read_members(archive, storage, **options):
                label = '' if member.label < 0 else member.label
                row = (name, member.name, member.offset, member.size, label, '', '')
                writer.writerow(row)
                count += 1
        if not count:
            raise ValueError('the tar files hold no video and no picture')
    return count
