"""Opens every file of a list or folder before a run does, and sorts the good from the bad."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from nextvid_mm.data_checks import HELP_PAGE, one_line
from nextvid_mm.datasets.video.backends import open_video
from nextvid_mm.datasets.video.files import format_line, is_image, read_list, walk
from nextvid_mm.datasets.video.pictures import MAX_PIXELS, load_picture
from nextvid_mm.files import write_text
from nextvid_mm.stopping import pool_of

# Files handed to the workers at once; bounds memory on lists of millions.
_BLOCK = 1024
# Seconds after the limit of a file until its process is killed.
_GRACE = 10


class Entry(NamedTuple):
    """One file to look at."""

    path: str
    text: str
    """Its line in the list, or its path below the folder: what the clean list repeats."""
    line: int
    """Number of the line; in a folder, place in the sorted order, from 1."""
    label: int = -1


class Finding(NamedTuple):
    """What a look at one file showed; ``kind`` is empty if it is good."""

    kind: str
    reason: str
    seconds: float


@dataclass
class ScanReport:
    """The sorted files.

    Attributes:
        good: lines of the clean list.
        bad: ``(entry, finding)`` of every other one, in the order of the list.
        seconds: playing time of the good videos.
    """

    good: list[str] = field(default_factory=list)
    bad: list[tuple[Entry, Finding]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def kinds(self) -> Counter[str]:
        """Number of bad files by kind."""
        return Counter(finding.kind for _, finding in self.bad)

    def add(self, entry: Entry, finding: Finding) -> None:
        """File one entry."""
        if finding.kind:
            self.bad.append((entry, finding))
        else:
            self.good.append(entry.text)
            self.seconds += finding.seconds

    def write(self, prefix: str | Path) -> tuple[Path, Path]:
        """Write ``PREFIX.clean.txt`` and ``PREFIX.bad.txt`` (line, path, kind, reason by tabs)."""
        clean, bad = (Path(f'{prefix}.{kind}.txt') for kind in ('clean', 'bad'))
        _write(clean, self.good)
        rows = ((e.line, format_line(e.path), f.kind, f.reason) for e, f in self.bad)
        _write(bad, ['\t'.join(map(str, row)) for row in rows])
        return clean, bad


def _write(path: Path, lines: list[str]) -> None:
    write_text(path, ''.join(f'{line}\n' for line in lines))


def list_entries(source: str | Path, folder: str | Path = '') -> tuple[list[Entry], list[str]]:
    """Entries of a list file (paths relative to ``folder``) or of all files below a folder.

    Returns:
        The entries, and sentences about what was left out.

    Raises:
        FileNotFoundError: If ``source`` does not exist.
        ValueError: If it names no file, or a line cannot be read.
    """
    source, notes = Path(source), []
    if source.is_dir():
        found = walk(source)
        notes = found.notes()
        entries = [
            Entry(path, format_line(os.path.relpath(path, source)), number)
            for number, path in enumerate(found.files + found.closed, start=1)
        ]
    elif source.is_file():
        entries = [
            Entry(os.path.join(folder, file.path), file.text, file.line, file.label)
            for file in read_list(source)
        ]
    else:
        raise FileNotFoundError(f'{source}: no such list or folder; see {HELP_PAGE}')
    if not entries:
        raise ValueError('; '.join([f'{source} names no video or image', *notes]))
    return entries, notes


def check_file(
    path: str,
    min_frames: int = 16,
    full: bool = False,
    backend: str = 'pyav',
    max_pixels: int = MAX_PIXELS,
    timeout: float = 120.0,
) -> Finding:
    """Look at one video or image with the code that training uses.

    Args:
        path: The file.
        min_frames: A video with fewer frames is ``too short``.
        full: Decode every frame; otherwise the first, the middle and the last one.
        backend: See ``VideoInit``.
        max_pixels: See ``LoadPicture``.
        timeout: Seconds for one file.
    """
    try:
        if os.path.isdir(path):
            os.listdir(path)
            return Finding('undecodable', 'it is a folder', 0.0)
        with open(path, 'rb') as file:
            if not file.read(1):
                return Finding('undecodable', 'the file is empty', 0.0)
        if is_image(path):
            load_picture(path, max_pixels)
            return Finding('', '', 0.0)
        return _check_video(path, min_frames, full, backend, time.monotonic() + timeout)
    except FileNotFoundError:
        return Finding('missing', 'there is no such file', 0.0)
    except PermissionError as error:
        return Finding('permission', f'cannot be read: {error.strerror}', 0.0)
    except TimeoutError:
        return Finding('timeout', f'takes longer than {timeout:g} s', 0.0)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like
        kind = 'zero-frame' if str(error).endswith('holds no frame') else 'undecodable'
        return Finding(kind, one_line(error), 0.0)


def look_at(file: Any, picture: bool, timeout: float = 120.0) -> None:
    """Read a picture, or the first, the middle and the last frame of a video.

    Args:
        file: Opened for reading bytes.
        picture: Which of both it is.
        timeout: Seconds.

    Raises:
        Exception: Of the kinds that decoders have.
    """
    if picture:
        load_picture(file)
    else:
        _check_video(file, 1, False, 'pyav', time.monotonic() + timeout)


def _check_video(path: Any, min_frames: int, full: bool, backend: str, deadline: float) -> Finding:
    video: Any = open_video(path, backend, deadline=deadline)
    count, last = len(video), video.duration - 1 / video.rate
    if full and backend == 'pyav':
        count = sum(1 for _ in video.every())
    else:
        # Ends come first: where a file was cut, the last frame fails at once.
        for moment in video.times if full else sorted({last, last / 2, 0.0}, reverse=True):
            video.frames_at([moment])
    video.close()
    if count < min_frames:
        return Finding('too short', f'{count} frames, fewer than {min_frames}', 0.0)
    return Finding('', '', video.duration)


def scan(
    entries: Sequence[Entry],
    workers: int = 4,
    min_frames: int = 16,
    full: bool = False,
    timeout: int = 120,
    **options: Any,
) -> Iterator[tuple[Entry, Finding]]:
    """Look at all entries, several at a time; yields them in their order.

    Args:
        entries: From :func:`list_entries`.
        workers: Processes; 0 looks in this one.
        min_frames: See :func:`check_file`.
        full: See :func:`check_file`.
        timeout: Seconds for one file. A process that does not stop then is killed soon after; not
            with ``workers=0``.
        options: See :func:`check_file`.
    """
    check = partial(check_file, min_frames=min_frames, full=full, timeout=timeout, **options)
    fresh, repeated = _split_duplicates(entries)
    results = _in_processes(fresh, check, workers, timeout) if workers else _here(fresh, check)
    for entry in entries:
        yield entry, repeated[entry.line] if entry.line in repeated else next(results)


def _split_duplicates(entries: Sequence[Entry]) -> tuple[list[Entry], dict[int, Finding]]:
    """Part the first entry of every file from those that repeat it."""
    seen: dict[str, Entry] = {}
    fresh, repeated = [], {}
    for entry in entries:
        first = seen.setdefault(os.path.realpath(entry.path), entry)
        if first is entry:
            fresh.append(entry)
            continue
        labels = [e.label for e in (first, entry)]
        other = f', where its label is {labels[0]}, not {labels[1]}' if len(set(labels)) > 1 else ''
        repeated[entry.line] = Finding('duplicate', f'same file as line {first.line}{other}', 0.0)
    return fresh, repeated


def _here(entries: Sequence[Entry], check: partial[Finding]) -> Iterator[Finding]:
    return (check(entry.path) for entry in entries)


def _in_processes(
    entries: Sequence[Entry], check: partial[Finding], workers: int, timeout: int
) -> Iterator[Finding]:
    """Look block by block; after a crash, the rest of the block file by file."""
    paths = iter([entry.path for entry in entries])
    job = partial(_with_alarm, check, timeout + _GRACE)
    while block := list(islice(paths, _BLOCK)):
        done = 0
        try:
            with pool_of(workers, 'fork') as pool:
                for finding in pool.map(job, block, chunksize=8):
                    yield finding
                    done += 1
        except BrokenProcessPool:
            yield from (_alone(job, path, timeout + _GRACE) for path in block[done:])


def _with_alarm(check: partial[Finding], timeout: int, path: str) -> Finding:
    # The default action ends the process also inside a decoder, which sees no Python exception.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(timeout)
    try:
        return check(path)
    finally:
        signal.alarm(0)


def _alone(job: partial[Finding], path: str, timeout: int) -> Finding:
    """Look at one file in a process of its own, so that a crash points at it."""
    try:
        with pool_of(1, 'fork') as pool:
            return pool.submit(job, path).result()
    except BrokenProcessPool:
        return Finding('undecodable', f'the decoder crashed, or took longer than {timeout} s', 0.0)
