"""Lists of any length: read once into arrays that all processes of a machine share.

A list of ten million lines is turned into a folder of plain arrays, which every process maps
instead of reading: opening it costs the same as for ten lines. Short lists are read anew.
"""

from __future__ import annotations

import csv
import glob
import io
import math
import mmap
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, overload

import fsspec
import numpy as np
from filelock import FileLock
from platformdirs import user_cache_path

from nextvid_mm.datasets.video.files import IMAGE_EXTENSIONS, iterate_list
from nextvid_mm.files import INSIDE
from nextvid_mm.progress import track

# Of an index; raised when its content changes its meaning.
FORMAT = 1
FOLDER = '.nextvid_lists'
# Shorter lists are read in some milliseconds and leave nothing on the disk.
SMALLEST_INDEXED = 1 << 20
TABLES = ('.csv', '.tsv', '.parquet')
COLUMNS = ('path', 'label', 'start', 'end', 'member', 'offset', 'size')
_TYPES = dict(
    bytes='u1', ends='<i8', labels='<i8', lines='<i8', starts='<f8', stops='<f8', offsets='<i8',
    sizes='<i8',
)  # fmt: skip
_BLOCK = 1 << 16


class ListedClip(NamedTuple):
    """One entry of a list."""

    path: str
    label: int
    """-1 without one."""
    line: int
    """Number of the line, or of the row of a table, from 1."""
    start: float = math.nan
    """Seconds at which the clip begins; NaN: with the file."""
    end: float = math.nan
    """Seconds at which it ends; NaN: with the file."""
    offset: int = -1
    """First byte of the file in a tar file, -1 for a file of its own."""
    size: int = -1
    """Bytes of the file in a tar file."""


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
        """Data info: ``filename``, ``label``, ``line``.

        Of a part of a video also ``segment`` (seconds); of a file in a tar file ``part`` (bytes:
        first and how many) and, of a picture, ``img_path``.
        """
        rows = range(len(self.columns['ends'])) if self.rows is None else self.rows
        if isinstance(place, slice):
            return ClipList(self.columns, self.prefix, np.asarray(rows[place]))
        row = int(rows[place])
        ends = self.columns['ends']
        first, last = int(ends[row - 1]) if row else 0, int(ends[row])
        info: dict[str, Any] = dict(
            filename=_join(self.prefix, os.fsdecode(self.columns['bytes'][first:last].tobytes())),
            label=int(self.columns['labels'][row]),
            line=int(self.columns['lines'][row]),
        )
        start, end = (float(self.columns[name][row]) for name in ('starts', 'stops'))
        if not (math.isnan(start) and math.isnan(end)):
            info['segment'] = (
                0.0 if math.isnan(start) else start,
                None if math.isnan(end) else end,
            )
        if (size := int(self.columns['sizes'][row])) >= 0:
            info['part'] = (int(self.columns['offsets'][row]), size)
            if info['filename'].lower().endswith(IMAGE_EXTENSIONS):
                info['img_path'] = info['filename']
        return info


def _join(prefix: str, path: str) -> str:
    if not prefix or '://' in path:
        return path
    return f'{prefix.rstrip("/")}/{path}' if '://' in prefix else os.path.join(prefix, path)


def open_list(
    path: str | Path, prefix: str = '', columns: Mapping[str, str] | None = None
) -> ClipList:
    """Open a list, through its index where it is long.

    The index lies in a folder :data:`FOLDER` beside the list or, where that cannot be written, in
    the user's cache. Whoever comes first makes it while others wait; it is made again when size or
    time of the list have changed.

    Args:
        path: text as :func:`~nextvid_mm.datasets.video.files.parse_list` reads it, or a table with
            a header, ``.csv``, ``.tsv`` or ``.parquet``, with the columns ``path`` and, as there
            are, ``label``, ``start`` and ``end`` (seconds), and of files in tar files ``member``,
            ``offset`` and ``size`` (bytes). On a disk, or an address.
        prefix: what the paths are relative to.
        columns: how a table calls these columns, where it calls them otherwise.

    Raises:
        FileNotFoundError: if there is no such list.
        ValueError: if it names no video, or an entry cannot be read; names list and line.
        ImportError: for a ``.parquet`` list without pyarrow.
    """
    name = str(path)
    if '://' in name or os.stat(name).st_size < SMALLEST_INDEXED:
        blocks = list(_blocks(read_entries(name, columns)))
        return ClipList({key: np.concatenate([b[key] for b in blocks]) for key in _TYPES}, prefix)
    folder = _index_folder(Path(name), columns or {})
    if not folder.is_dir():
        _build(Path(name), folder, columns)
    return ClipList(_Mapped(folder), prefix)


def _index_folder(path: Path, columns: Mapping[str, str]) -> Path:
    """Where the index of a list as it is now lies: beside it, or in the user's cache."""
    path = path.resolve()
    status = path.stat()
    identity = f'{FORMAT}|{status.st_size}|{status.st_mtime_ns}|{sorted(columns.items())}'
    # Lists of one name in different folders must not meet in the cache.
    name, place = (
        blake2b(os.fsencode(text), digest_size=8).hexdigest() for text in (identity, path.parent)
    )
    name = f'{path.name}-{name}'
    beside = path.parent / FOLDER
    if (beside / name).is_dir() or os.access(beside if beside.is_dir() else path.parent, os.W_OK):
        return beside / name
    return user_cache_path('nextvid_mm') / 'lists' / place / name


def _build(path: Path, folder: Path, columns: Mapping[str, str] | None) -> None:
    """Read a list into arrays; the folder is complete or not there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f'{path.name}.lock'):
        if folder.is_dir():  # another process was faster
            return
        temporary = folder.with_name(f'{folder.name}.{secrets.token_hex(4)}.tmp')
        temporary.mkdir()
        try:
            entries = track(read_entries(str(path), columns), f'index of {path.name}', 'entries')
            _write(entries, temporary)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in folder.parent.glob(f'{glob.escape(path.name)}-*'):
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


# -- what lists look like ---------------------------------------------------------------------


def read_entries(path: str, columns: Mapping[str, str] | None = None) -> Iterator[ListedClip]:
    """Entries of a list, one after the other; see :func:`open_list`."""
    kind = Path(path).suffix.lower()
    if columns and (unknown := set(columns) - set(COLUMNS)):
        raise ValueError(f'columns of {path}: {sorted(unknown)} are none of {", ".join(COLUMNS)}')
    if columns and kind not in TABLES:
        raise ValueError(f'columns={dict(columns)} is for {", ".join(TABLES)}, found {path}')
    with fsspec.open(path, 'rb') if '://' in path else open(path, 'rb') as file:
        entry = None
        if kind not in TABLES:
            for found in iterate_list(file, path):
                yield (entry := ListedClip(found.path, found.label, found.line))
        else:
            names = {name: (columns or {}).get(name, name) for name in COLUMNS}
            rows = _parquet(file, path, names) if kind == '.parquet' else _csv(file, path, names)
            for line, row in rows:
                yield (entry := _clip(row, line, path))
    if entry is None:
        raise ValueError(f'the list file {path} names no video')


Row = tuple[int, dict[str, Any]]


def _csv(file: IO[bytes], path: str, names: Mapping[str, str]) -> Iterator[Row]:
    delimiter = '\t' if path.lower().endswith('.tsv') else ','
    reader = csv.DictReader(
        io.TextIOWrapper(file, encoding='utf-8-sig', newline=''), delimiter=delimiter, strict=True
    )
    try:
        _require_path(path, names, reader.fieldnames or ())
        for row in reader:
            yield reader.line_num, {key: row.get(name) for key, name in names.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{path}, line {reader.line_num + 1}: {error}') from error


def _parquet(file: IO[bytes], path: str, names: Mapping[str, str]) -> Iterator[Row]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(f'{path} needs pyarrow: pip install pyarrow') from error
    try:
        table = ParquetFile(file)
    except ArrowInvalid as error:
        raise ValueError(f'{path} is no parquet file: {error}') from error
    _require_path(path, names, table.schema_arrow.names)
    there = {key: name for key, name in names.items() if name in table.schema_arrow.names}
    number = 0
    for batch in table.iter_batches(columns=list(there.values())):
        columns = {key: batch.column(name).to_pylist() for key, name in there.items()}
        for values in zip(*columns.values(), strict=True):
            number += 1
            yield number, dict(zip(columns, values, strict=True))


def _require_path(path: str, names: Mapping[str, str], found: Sequence[str]) -> None:
    if names['path'] not in found:
        raise ValueError(
            f'{path} has no column {names["path"]!r}, but {", ".join(found) or "none"}: name the '
            "one with paths, columns=dict(path='...')"
        )


def _clip(row: Mapping[str, Any], line: int, name: str) -> ListedClip:
    """One row of a table, checked."""
    where = f'{name}, line {line}'
    path = row['path']
    if not path or not isinstance(path, str):
        raise ValueError(f'{where}: {path!r} is no path')
    times = []
    for key in ('start', 'end'):
        value = row.get(key)
        try:
            times.append(math.nan if value in (None, '') else float(value))
        except (TypeError, ValueError):
            raise ValueError(f'{where}: {key}={value!r} is no number of seconds') from None
    start, end = times
    if start < 0 or end <= (0.0 if math.isnan(start) else start):
        raise ValueError(f'{where}: start={start:g} and end={end:g} are no part of a video: {path}')
    numbers = []
    for key in ('label', 'offset', 'size'):
        value = row.get(key)
        try:
            numbers.append(-1 if value in (None, '') else int(value))
        except (TypeError, ValueError):
            raise ValueError(f'{where}: {key}={value!r} is no whole number') from None
    label, offset, size = numbers
    if (offset < 0) != (size < 0):
        raise ValueError(f'{where}: a file in a tar file has an offset and a size: {path}')
    name = f'{path}{INSIDE}{row["member"]}' if row.get('member') else path
    return ListedClip(name, label, line, start, end, offset, size)
