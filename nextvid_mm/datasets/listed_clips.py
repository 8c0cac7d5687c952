"""What lists of clips look like: text with a path a line, or a table that also names parts."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from nextvid_mm.datasets.video.files import IMAGE_EXTENSIONS, iterate_list
from nextvid_mm.files import INSIDE, replace_when_complete, shown, time_fragment
from nextvid_mm.storage import Storage

TABLES = ('.csv', '.tsv', '.parquet')
COLUMNS = ('path', 'label', 'start', 'end', 'member', 'offset', 'size')
_BUFFER = 1 << 20


class ListedClip(NamedTuple):
    """One entry of a list; as text, its path and, of a part of a video, ``#t=START,END``."""

    path: str
    label: int = -1
    """-1 without one."""
    line: int = 0
    """Number of the line, or of the row of a table, from 1."""
    start: float = math.nan
    """Seconds at which the clip begins; NaN: with the file."""
    end: float = math.nan
    """Seconds at which it ends; NaN: with the file."""
    offset: int = -1
    """First byte of the file in a tar file, -1 for a file of its own."""
    size: int = -1
    """Bytes of the file in a tar file."""

    @property
    def segment(self) -> tuple[float, float | None] | None:
        """Seconds from and to, None for the end of the file; None for the whole file."""
        if math.isnan(self.start) and math.isnan(self.end):
            return None
        return (
            0.0 if math.isnan(self.start) else self.start,
            None if math.isnan(self.end) else self.end,
        )

    @property
    def part(self) -> tuple[int, int] | None:
        """First byte and number of bytes in a tar file; None for a file of its own."""
        return (self.offset, self.size) if self.size >= 0 else None

    def __str__(self) -> str:
        return self.path + time_fragment(self.segment)

    def info(self) -> dict[str, Any]:
        """Data info of MMAction2's kind: ``filename``, ``label``, ``line``.

        Of a part of a video also ``segment``; of a file in a tar file ``part`` and, of a picture,
        ``img_path``.
        """
        info: dict[str, Any] = dict(filename=self.path, label=self.label, line=self.line)
        if (segment := self.segment) is not None:
            info['segment'] = segment
        if (part := self.part) is not None:
            info['part'] = part
            if self.path.lower().endswith(IMAGE_EXTENSIONS):
                info['img_path'] = self.path
        return info

    def below(self, root: str | Path) -> ListedClip:
        """The same with a path relative to a folder or address; addresses stay as they are."""
        return self._replace(path=join(str(root), self.path))


def join(root: str, path: str) -> str:
    """A path below a folder or an address; '' for none."""
    if not root or '://' in path:
        return path
    return f'{root.rstrip("/")}/{path}' if '://' in root else os.path.join(root, path)


def read_entries(
    path: str, columns: Mapping[str, str] | None = None, storage: Storage | None = None
) -> Iterator[ListedClip]:
    """Entries of a list, one after the other.

    Args:
        path: on a disk, or an address; see :func:`~nextvid_mm.datasets.list_index.open_list`.
        columns: likewise.
        storage: how a remote list is fetched.

    Raises:
        ValueError: if an entry cannot be read, or there is none; names list and line.
    """
    address, path = path, shown(path)
    kind = Path(path).suffix.lower()
    inner = Path(Path(path).stem).suffix.lower()
    if kind in ('.tar', '.tgz') or (inner == '.tar' and kind not in ('.txt', *TABLES)):
        raise ValueError(
            f'{path} is a tar file, not a list: tools/pack_shards.py --index {path} --out '
            'clips.csv writes the list of its clips'
        )
    if columns and (unknown := set(columns) - set(COLUMNS)):
        raise ValueError(f'columns of {path}: {sorted(unknown)} are none of {", ".join(COLUMNS)}')
    if columns and kind not in TABLES:
        raise ValueError(f'columns={dict(columns)} is for {", ".join(TABLES)}, found {path}')
    with io.BufferedReader((storage or Storage()).open(address), _BUFFER) as file:
        entry = None
        if kind not in TABLES:
            for found in iterate_list(file, path):
                yield (entry := ListedClip(found.path, found.label, found.line))
        else:
            read = _parquet if kind == '.parquet' else _csv
            for line, row in read(file, path, columns or {}):
                yield (entry := _clip(row, line, path))
    if entry is None:
        raise ValueError(f'the list file {path} names no video')


Row = tuple[int, dict[str, Any]]


def _csv(file: IO[bytes], path: str, columns: Mapping[str, str]) -> Iterator[Row]:
    delimiter = '\t' if path.lower().endswith('.tsv') else ','
    reader = csv.DictReader(
        io.TextIOWrapper(file, encoding='utf-8-sig', newline=''), delimiter=delimiter, strict=True
    )
    try:
        names = _names(path, columns, reader.fieldnames or ())
        for row in reader:
            yield reader.line_num, {key: row.get(name) for key, name in names.items()}
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f'{path}, line {reader.line_num + 1}: {error}') from error


def _parquet(file: IO[bytes], path: str, columns: Mapping[str, str]) -> Iterator[Row]:
    try:
        from pyarrow import ArrowInvalid
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise ImportError(f'{path} needs pyarrow: pip install pyarrow') from error
    try:
        table = ParquetFile(file)
    except ArrowInvalid as error:
        raise ValueError(f'{path} is no parquet file: {error}') from error
    names = _names(path, columns, table.schema_arrow.names)
    there = {key: name for key, name in names.items() if name in table.schema_arrow.names}
    number = 0
    for batch in table.iter_batches(columns=list(there.values())):
        lists = {key: batch.column(name).to_pylist() for key, name in there.items()}
        for values in zip(*lists.values(), strict=True):
            number += 1
            yield number, dict(zip(lists, values, strict=True))


def _names(path: str, columns: Mapping[str, str], found: Sequence[str]) -> dict[str, str]:
    """What a table calls its columns; those that somebody has named must be there."""
    names = {name: columns.get(name, name) for name in COLUMNS}
    there = ', '.join(found) or 'none'
    if names['path'] not in found:
        raise ValueError(
            f'{path} has no column {names["path"]!r}, but {there}: name the one with paths, '
            "columns=dict(path='...')"
        )
    for key, name in columns.items():
        if name not in found:
            raise ValueError(
                f'{path} has no column {name!r}, but {there}: columns=dict({key}={name!r}) must '
                'name one of these'
            )
    return names


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
    if not 0 <= (0.0 if math.isnan(start) else start) < (math.inf if math.isnan(end) else end):
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


def write_rows(path: str | Path, lines: Collection[int], target: str | Path) -> None:
    """Write a table with some of a table's rows, all columns as they are.

    Args:
        path: of the table.
        lines: ``ListedClip.line`` of the rows.
        target: of the same kind.
    """
    path, wanted = Path(path), frozenset(lines)
    with replace_when_complete(target) as temporary:
        if path.suffix.lower() == '.parquet':
            from pyarrow.parquet import read_table, write_table

            write_table(read_table(path).take([line - 1 for line in sorted(wanted)]), temporary)
            return
        delimiter = '\t' if path.suffix.lower() == '.tsv' else ','
        with (
            path.open(encoding='utf-8-sig', newline='') as file,
            temporary.open('w', encoding='utf-8', newline='') as out,
        ):
            reader = csv.reader(file, delimiter=delimiter)
            writer = csv.writer(out, delimiter=delimiter, lineterminator='\n')
            writer.writerow(next(reader))
            writer.writerows(row for row in reader if reader.line_num in wanted)
