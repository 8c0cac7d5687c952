"""Packs clips into tar files: the same clips into the same files, however often it was stopped."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from nextvid_mm.data_checks import HELP_PAGE, one_line
from nextvid_mm.datasets.clip_shards import TABLE, open_file, open_member, read_members
from nextvid_mm.datasets.list_index import open_list
from nextvid_mm.datasets.listed_clips import ListedClip, read_entries
from nextvid_mm.datasets.scan import look_at
from nextvid_mm.datasets.video.files import IMAGE_EXTENSIONS, walk
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.files import (
    INSIDE,
    TEMPORARY_SUFFIX,
    is_remote,
    replace_when_complete,
    shown,
    write_text,
)
from nextvid_mm.stopping import pool_of
from nextvid_mm.storage import Storage

SETTINGS = 'packing.txt'


@dataclass(frozen=True)
class Encoding:
    """How clips are encoded anew; what is None stays as it is. Parts of videos always are.

    Args:
        short_side: pixels of the shorter side; larger videos are made smaller.
        fps: frames per second; frame k is the one nearest to ``k / fps``.
        gop: frames from one key frame to the next.
        quality: x264's constant rate factor; lower is better and larger.
    """

    short_side: int | None = None
    fps: float | None = None
    gop: int | None = None
    quality: int = 20

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and not value > 0:
                raise ValueError(f'{name}={value} must be larger than 0')

    @property
    def changes(self) -> bool:
        """Whether anything is encoded anew."""
        return any(value is not None for value in (self.short_side, self.fps, self.gop))


class Packed(NamedTuple):
    """What became of one tar file's clips."""

    shard: Path
    bad: list[tuple[str, str]]
    """Path and reason of those that could not be read."""


def pack(
    entries: Sequence[ListedClip],
    folder: Path,
    per_shard: int = 1000,
    encoding: Encoding | None = None,
    workers: int = 1,
) -> Iterator[Packed]:
    """Write tar files ``shard-000000.tar`` ...; those that are there are left as they are.

    Args:
        entries: with paths or addresses that can be opened, in their order.
        folder: where tar files and table go; for one run at a time.
        per_shard: clips of a tar file.
        encoding: how clips are encoded anew; None copies their bytes.
        workers: processes; 0 works in this one.

    Yields:
        One result for each tar file, in their order.

    Raises:
        ValueError: if the folder was packed from other clips or with other settings, or a quality
            is asked for where nothing is encoded.
    """
    encoding = encoding or Encoding()
    anew = encoding.changes or any(entry.segment is not None for entry in entries)
    if encoding.quality != Encoding.quality and not anew:
        raise ValueError(
            f'quality={encoding.quality} (--quality) changes nothing where files are packed as '
            'they are: give short_side, fps or gop (--short-side, --fps, --gop), too'
        )
    folder.mkdir(parents=True, exist_ok=True)
    _require_same(folder, entries, per_shard, encoding)
    for name in ('shard-', SETTINGS, TABLE):
        for left_by_a_kill in folder.glob(f'{name}*{TEMPORARY_SUFFIX}'):
            left_by_a_kill.unlink()
    parts = range(0, len(entries), per_shard)
    shards = [folder / f'shard-{number:06d}.tar' for number in range(len(parts))]
    jobs = [entries[first : first + per_shard] for first in parts]
    work = partial(_pack_shard, encoding=encoding)
    if not workers:
        yield from map(work, shards, jobs)
        return
    with pool_of(workers, 'fork') as pool:
        yield from pool.map(work, shards, jobs)


def _require_same(
    folder: Path, entries: Sequence[ListedClip], per_shard: int, encoding: Encoding
) -> None:
    words = [f'{len(entries)} clips', f'{per_shard} in a tar file', str(encoding)]
    digest = blake2b(digest_size=16)
    for entry in entries:
        # What gives access differs from day to day.
        digest.update(repr(entry._replace(path=shown(entry.path))).encode())
    words += [f'first {_plain(shown(entries[0].path))}', f'all {digest.hexdigest()}']
    text, file = '\n'.join(words) + '\n', folder / SETTINGS
    if not file.exists():
        if any(folder.glob('*.tar')):
            raise ValueError(f'{folder} has tar files of another origin: choose an empty folder')
        write_text(file, text)
    elif (found := file.read_text(encoding='utf-8')) != text:
        raise ValueError(
            f'{folder} was packed otherwise: choose another folder, or pack as before. Then:\n'
            f'{found}now:\n{text}'
        )


def _plain(text: str) -> str:
    """A text that can be written: names of files may hold bytes that are none."""
    return text.encode(errors='backslashreplace').decode()


def _pack_shard(shard: Path, entries: Sequence[ListedClip], encoding: Encoding) -> Packed:
    """One tar file, and beside it what could not be read; the tar file is the last to appear."""
    faults = shard.with_suffix('.bad.txt')
    if shard.exists():
        text = faults.read_text(encoding='utf-8') if faults.exists() else ''
        return Packed(shard, [tuple(line.split('\t', 1)) for line in text.splitlines()])  # type: ignore[misc]
    bad = []
    with (
        replace_when_complete(shard) as temporary,
        tarfile.open(temporary, 'w', format=tarfile.PAX_FORMAT) as tar,
    ):
        for number, entry in enumerate(entries):
            try:
                content, suffix = _content(entry, encoding)
            except Exception as error:  # one file must not end the whole
                bad.append((_plain(shown(entry.path)), one_line(error)))
                continue
            stem = f'{shard.stem.removeprefix("shard-")}-{number:05d}'
            _add(tar, f'{stem}{suffix}', content)
            if entry.label >= 0:
                _add(tar, f'{stem}.cls', str(entry.label).encode())
        if bad:
            write_text(faults, ''.join(f'{path}\t{reason}\n' for path, reason in bad))
    return Packed(shard, bad)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _content(entry: ListedClip, encoding: Encoding) -> tuple[bytes, str]:
    """Bytes of a clip as it is packed, and the ending of its name."""
    suffix = Path(shown(entry.path)).suffix.lower()
    with open_file(Storage(), entry.path, entry.part) as file:
        if entry.segment is None and (not encoding.changes or suffix in IMAGE_EXTENSIONS):
            return file.readall() or b'', suffix
        return encode(file, encoding, entry.start, entry.end), '.mp4'


def encode(file: Any, encoding: Encoding, start: float = np.nan, end: float = np.nan) -> bytes:
    """A video, or a part of it, encoded anew as H.264 in mp4.

    Args:
        file: as of ``VideoReader``.
        encoding: how.
        start: seconds at which it begins; NaN: with the file.
        end: seconds at which it ends; NaN: with the file.

    Raises:
        ValueError: if the video cannot be read, or has no frame between these.
    """
    target = io.BytesIO()
    begin = 0.0 if np.isnan(start) else start
    with VideoReader(file) as reader, av.open(target, 'w', format='mp4') as container:
        if begin >= reader.duration:
            raise ValueError(f'its part begins at {begin:g} s, its end is at {reader.duration:g} s')
        rate = Fraction(encoding.fps or reader.rate).limit_denominator(1001)
        height, width = reader.shape
        scale = min(1.0, (encoding.short_side or min(height, width)) / min(height, width))
        height, width = (max(2, round(side * scale / 2) * 2) for side in (height, width))
        # With its macroblock tree, x264 codes small frames otherwise from run to run.
        options = {'crf': str(encoding.quality), 'threads': '1', 'x264-params': 'mbtree=0'}
        if encoding.gop is not None:
            options['g'] = str(encoding.gop)
        stream = container.add_stream('libx264', rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        count = 0
        for moment, picture in reader.every(float(rate), begin):
            if count and moment >= end:  # however short a part is, it has a frame
                break
            frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
            frame = frame.reformat(width, height, 'yuv420p', interpolation='AREA')
            frame.pts, frame.time_base = count, 1 / rate
            container.mux(stream.encode(frame))
            count += 1
        if not count:
            raise ValueError(f'the video has no frame after {begin:g} s')
        container.mux(stream.encode())
    return target.getvalue()


def verify(folder: Path) -> Iterator[tuple[str, str]]:
    """Look at every clip of the table as training would; yields name and reason of the bad.

    Also that the tar files hold what their table says, no more and no less.
    """
    entries = open_list(folder / TABLE, str(folder))
    listed: dict[str, set[tuple[int, int]]] = {}
    for info in entries:
        archive, _, member = info['filename'].rpartition(INSIDE)
        listed.setdefault(archive, set()).add(info['part'])
        try:
            with open_member(Storage(), info['filename'], info['part']) as file:
                look_at(file, 'img_path' in info)
        except Exception as error:
            yield f'{os.path.relpath(archive, folder)}{INSIDE}{member}', one_line(error)
    for archive, parts in listed.items():
        held = {(member.offset, member.size) for member in read_members(archive)}
        if lacking := held - parts:
            yield os.path.relpath(archive, folder), f'{len(lacking)} clips are not in {TABLE}'


def absolute_entries(
    source: str | Path, root: str | Path, columns: Mapping[str, str] | None = None
) -> tuple[list[ListedClip], list[str]]:
    """Entries of a list with paths below ``root``, or of a folder; and what was left out of it.

    A list may be an address; ``columns`` is as of ``open_list``.
    """
    if os.path.isdir(source):
        found = walk(source)
        paths = found.files + found.closed  # whoever opens a closed folder says why
        entries = [ListedClip(path, -1, line) for line, path in enumerate(paths, start=1)]
        if not entries:
            raise ValueError('; '.join([f'{source} names no video or image', *found.notes()]))
        return entries, found.notes()
    if not is_remote(source) and not os.path.isfile(source):
        raise FileNotFoundError(f'{source}: no such list or folder; see {HELP_PAGE}')
    return [entry.below(root) for entry in read_entries(str(source), columns)], []
