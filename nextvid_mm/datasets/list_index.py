"""Lists of any length: read once into arrays that all processes of a machine share.

A list of ten million lines is turned into a folder of plain arrays, which every process maps
instead of reading: opening it costs the same as for ten lines. Short lists are read anew.
"""

from __future__ import annotations

import errno
import glob
import logging
import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from filelock import FileLock
from mmengine.logging import print_log
from platformdirs import user_cache_path

from nextvid_mm.datasets.listed_clips import ListedClip, join, read_entries
from nextvid_mm.files import is_remote, shown
from nextvid_mm.progress import track
from nextvid_mm.storage import Storage

# Of an index; raised when its content changes its meaning.
FORMAT = 1
FOLDER = '.nextvid_lists'
# Shorter lists are read in some milliseconds and leave nothing on the disk.
SMALLEST_INDEXED = 1 << 20
_TYPES = dict(
    bytes='u1', ends='<i8', labels='<i8', lines='<i8', starts='<f8', stops='<f8', offsets='<i8',
    sizes='<i8',
)  # fmt: skip
_BLOCK = 1 << 16
# Errors of a disk that takes no index.
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
_FULL = (errno.ENOSPC, errno.EDQUOT)


class ClipList(Sequence):
    """The entries of a list as data infos, each made when it is asked for.

    Args:
        columns: arrays by name: ``bytes``, all paths in one; ``ends`` of these, ``labels``,
            ``lines``, ``starts`` and ``stops`` in seconds, ``offsets`` and ``sizes`` in bytes, one
            value for each entry.
        prefix: folder or address that paths are relative to; '' for none.
        rows: which entries, in their order; None for all.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        prefix: str = '',
        rows: np.ndarray | None = None,
    ) -> None:
        self.columns, self.prefix, self.rows = columns, prefix, rows

    def __len__(self) -> int:
        return len(self.columns['ends'] if self.rows is None else self.rows)

    @property
    def labels(self) -> np.ndarray:
        """Label of every entry ``(n,)``, -1 without one."""
        labels = self.columns['labels']
        return labels if self.rows is None else labels[self.rows]

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> ClipList: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | ClipList:
        """Data info; see :meth:`~nextvid_mm.datasets.listed_clips.ListedClip.info`."""
        rows = range(len(self.columns['ends'])) if self.rows is None else self.rows
        if isinstance(place, slice):
            return ClipList(self.columns, self.prefix, np.asarray(rows[place]))
        row, ends = int(rows[place]), self.columns['ends']
        first, last = int(ends[row - 1]) if row else 0, int(ends[row])
        path = os.fsdecode(self.columns['bytes'][first:last].tobytes())
        names = ('labels', 'lines', 'starts', 'stops', 'offsets', 'sizes')
        values = (self.columns[name][row].item() for name in names)
        return ListedClip(join(self.prefix, path), *values).info()


def open_list(
    path: str | Path,
    prefix: str = '',
    columns: Mapping[str, str] | None = None,
    storage: Storage | None = None,
) -> ClipList:
    """Open a list, through its index where it is long.

    The index lies in a folder :data:`FOLDER` beside the list or, where that cannot be written, and
    of a list behind an address, in the user's cache. Whoever comes first makes it while others
    wait; it is made again when size or time of the list, or its ETag, have changed. Where neither
    can be written, every process reads the list, and the log says so.

    Args:
        path: text as :func:`~nextvid_mm.datasets.video.files.parse_list` reads it, or a table with
            a header, ``.csv``, ``.tsv`` or ``.parquet``, with the columns ``path`` and, as there
            are, ``label``, ``start`` and ``end`` (seconds), and of files in tar files ``member``,
            ``offset`` and ``size`` (bytes). On a disk, or an address.
        prefix: what the paths are relative to.
        columns: how a table calls these columns, where it calls them otherwise.
        storage: how a remote list is fetched.

    Raises:
        FileNotFoundError: if there is no such list.
        ValueError: if it names no video, or an entry cannot be read; names list and line.
        ImportError: for a ``.parquet`` list without pyarrow.
    """
    storage = storage or Storage()
    with storage.open(path) as file:
        size, version = file.size, file.version
    if size >= SMALLEST_INDEXED and version:
        folder = _index_folder(str(path), version, columns or {})
        try:
            if not folder.is_dir():
                _build(read_entries(str(path), columns, storage), folder)
            return ClipList(_Mapped(folder), prefix)
        except OSError as error:
            if error.errno not in (*_CLOSED, *_FULL):
                raise
            text = f'{shown(path)}: no index can be written ({error}): every process reads the list'
            print_log(text, 'current', logging.WARNING)
    blocks = list(_blocks(read_entries(str(path), columns, storage)))
    return ClipList({key: np.concatenate([b[key] for b in blocks]) for key in _TYPES}, prefix)


def _index_folder(address: str, version: str, columns: Mapping[str, str]) -> Path:
    """Where the index of a list as it is now lies: beside it, or in the user's cache."""
    path = Path(shown(address)) if is_remote(address) else Path(address).resolve()
    # Lists of one name in different folders must not meet in the cache, and what one table says in
    # different columns are different lists.
    texts = (path.parent, str(sorted(columns.items())), f'{FORMAT}|{version}')
    place, kind, state = (blake2b(os.fsencode(text), digest_size=8).hexdigest() for text in texts)
    name = f'{path.name}-{kind}-{state}'
    beside = path.parent / FOLDER
    if not is_remote(address) and (
        (beside / name).is_dir() or os.access(beside if beside.is_dir() else path.parent, os.W_OK)
    ):
        return beside / name
    return user_cache_path('nextvid_mm') / 'lists' / place / name


def _build(entries: Iterator[ListedClip], folder: Path) -> None:
    """Read a list into arrays; the folder is complete or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    reading = folder.name.rpartition('-')[0]
    name = reading.rpartition('-')[0]
    with FileLock(folder.parent / f'{name}.lock'):
        if folder.is_dir():  # another process was faster
            return
        temporary = folder.with_name(f'{folder.name}.{secrets.token_hex(4)}.tmp')
        temporary.mkdir()
        try:
            _write(track(entries, f'index of {name}', 'entries'), temporary)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in folder.parent.glob(f'{glob.escape(reading)}-*'):
            # Whoever has mapped an older one goes on reading it.
            if old != folder and len(old.name) == len(folder.name):
                shutil.rmtree(old, ignore_errors=True)


def _write(entries: Iterable[ListedClip], folder: Path) -> None:
    with ExitStack() as stack:
        files = {name: stack.enter_context(open(folder / name, 'wb')) for name in _TYPES}
        for block in _blocks(entries):
            for name, values in block.items():
                values.tofile(files[name])


def _blocks(entries: Iterable[ListedClip]) -> Iterator[dict[str, np.ndarray]]:
    """Columns of some thousand entries at a time."""
    entries, end = iter(entries), 0
    while block := list(islice(entries, _BLOCK)):
        paths = [os.fsencode(entry.path) for entry in block]
        ends = end + np.cumsum([len(path) for path in paths])
        end = int(ends[-1])
        columns: dict[str, Any] = dict(
            bytes=np.frombuffer(b''.join(paths), dtype=np.uint8),
            ends=ends,
            labels=[entry.label for entry in block],
            lines=[entry.line for entry in block],
            starts=[entry.start for entry in block],
            stops=[entry.end for entry in block],
            offsets=[entry.offset for entry in block],
            sizes=[entry.size for entry in block],
        )
        yield {name: np.asarray(columns[name], dtype=kind) for name, kind in _TYPES.items()}


class _Mapped(dict):
    """Columns mapped from a folder; a process that gets them by pickle maps them anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__({name: _map(folder / name, kind) for name, kind in _TYPES.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return _Mapped, (self.folder,)

    def __deepcopy__(self, memo: dict) -> _Mapped:
        return self


def _map(path: Path, kind: str) -> np.ndarray:
    with path.open('rb') as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Entries are read in random order: neighbours are of no use.
    mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=kind)
