"""Opens every file of a list or folder before a run does, and sorts the good from the bad."""

import math
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from pathlib import Path
from typing import Any, NamedTuple

from nextvid_mm.data_checks import HELP_PAGE, one_line
from nextvid_mm.datasets.clip_shards import opened
from nextvid_mm.datasets.listed_clips import TABLES, ListedClip, read_entries, write_rows
from nextvid_mm.datasets.video.backends import open_video
from nextvid_mm.datasets.video.files import format_line, is_image, read_list, walk
from nextvid_mm.datasets.video.pictures import MAX_PIXELS, load_picture
from nextvid_mm.files import is_remote, write_text
from nextvid_mm.stopping import pool_of

# Files handed to the workers at once; bounds memory on lists of millions.
_BLOCK = 1024
# Seconds after the limit of a file until its process is killed.
_GRACE = 10


class Entry(NamedTuple):
    """One file, or part of one, to look at."""

    clip: ListedClip
    """``line`` is the number of the line; in a folder, place in the sorted order, from 1."""
    text: str = ''
    """Its line in the list, or its path below the folder: what the clean list repeats."""


class Finding(NamedTuple):
    """What a look at one file showed; ``kind`` is empty if it is good."""

    kind: str
    reason: str
    seconds: float


@dataclass
class ScanReport:
    """The sorted files.

    Attributes:
        good: entries of the clean list.
        bad: ``(entry, finding)`` of every other one, in the order of the list.
        seconds: playing time of the good videos.
    """

    good: list[Entry] = field(default_factory=list)
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
            self.good.append(entry)
            self.seconds += finding.seconds

    def write(self, prefix: str | Path, source: str | Path = '') -> tuple[Path, Path]:
        """Write ``PREFIX.clean.txt`` and ``PREFIX.bad.txt`` (line, path, kind, reason by tabs).

        Where the ``source`` is a table, the clean list is one of its kind.
        """
        clean, bad = report_files(prefix, source)
        if Path(source).suffix.lower() in TABLES:
            write_rows(source, [entry.clip.line for entry in self.good], clean)
        else:
            _write(clean, [entry.text for entry in self.good])
        rows = ((e.clip.line, format_line(str(e.clip)), f.kind, f.reason) for e, f in self.bad)
        lines = ['\t'.join(map(str, row)) for row in rows]
        # Reasons may hold names of files, and these bytes that are no text.
        _write(bad, [line.encode(errors='backslashreplace').decode() for line in lines])
        return clean, bad


def report_files(prefix: str | Path, source: str | Path = '') -> tuple[Path, Path]:
    """What :meth:`ScanReport.write` writes: the clean list and that of the bad."""
    suffix = Path(source).suffix
    clean = f'{prefix}.clean{suffix if suffix.lower() in TABLES else ".txt"}'
    return Path(clean), Path(f'{prefix}.bad.txt')


def _write(path: Path, lines: list[str]) -> None:
    write_text(path, ''.join(f'{line}\n' for line in lines))


def list_entries(
    source: str | Path, folder: str | Path = '', columns: Mapping[str, str] | None = None
) -> tuple[list[Entry], list[str]]:
    """Entries of a list or table (paths relative to ``folder``), or of all files below a folder.

    ``columns`` is as of ``ClipListDataset``.

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
            Entry(ListedClip(path, -1, number), format_line(os.path.relpath(path, source)))
            for number, path in enumerate(found.files + found.closed, start=1)
        ]
    elif source.is_file():
        if source.suffix.lower() in TABLES:
            listed = read_entries(str(source), columns)
            entries = [Entry(clip.below(folder)) for clip in listed]
        else:
            entries = [
                Entry(ListedClip(file.path, file.label, file.line).below(folder), file.text)
                for file in read_list(source)
            ]
    else:
        raise FileNotFoundError(f'{source}: no such list or folder; see {HELP_PAGE}')
    if not entries:
        raise ValueError('; '.join([f'{source} names no video or image', *notes]))
    return entries, notes


def check_file(
    clip: str | ListedClip,
    min_frames: int = 16,
    full: bool = False,
    backend: str = 'pyav',
    max_pixels: int = MAX_PIXELS,
    timeout: float = 120.0,
) -> Finding:
    """Look at one video, part of a video or image with the code that training uses.

    Args:
        clip: The file, or an entry of a list.
        min_frames: A video, or part of one, with fewer frames is ``too short``.
        full: Decode every frame; otherwise the first, the middle and the last one.
        backend: See ``VideoInit``.
        max_pixels: See ``LoadPicture``.
        timeout: Seconds for one file.
    """
    entry = clip if isinstance(clip, ListedClip) else ListedClip(clip)
    deadline = time.monotonic() + timeout
    try:
        file: Any = opened(entry, deadline=deadline)
        if isinstance(file, str):
            if os.path.isdir(file):
                os.listdir(file)
                return Finding('undecodable', 'it is a folder', 0.0)
            with open(file, 'rb') as first:
                if not first.read(1):
                    return Finding('undecodable', 'the file is empty', 0.0)
        if is_image(entry.path):
            load_picture(file, max_pixels)
            return Finding('', '', 0.0)
        return _check_video(file, min_frames, full, backend, deadline, entry.segment)
    except FileNotFoundError:
        return Finding('missing', 'there is no such file', 0.0)
    except PermissionError as error:
        return Finding('permission', f'cannot be read: {error.strerror or error}', 0.0)
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


def _check_video(
    file: Any,
    min_frames: int,
    full: bool,
    backend: str,
    deadline: float,
    segment: tuple[float, float | None] | None = None,
) -> Finding:
    video: Any = open_video(file, backend, deadline=deadline)
    begin, end = segment or (0.0, None)
    if begin >= video.duration:
        return Finding('undecodable', f'its part begins after {video.duration:.2f} s, its end', 0.0)
    end = video.duration if end is None else min(end, video.duration)
    count, last = max(1, round((end - begin) * video.rate)), max(begin, end - 1 / video.rate)
    if full and backend == 'pyav':
        # A header may end before the frames: only the end of a part ends them.
        stop = math.inf if segment is None or segment[1] is None else end
        times = (time for time, _ in video.every(None, begin))
        count = sum(1 for _ in takewhile(lambda time: time < stop, times))
    else:
        # Ends come first: where a file was cut, the last frame fails at once.
        chosen = sorted({last, (begin + last) / 2, begin}, reverse=True)
        for moment in video.times if full else chosen:
            video.frames_at([moment])
    video.close()
    if count < min_frames:
        return Finding('too short', f'{count} frames, fewer than {min_frames}', 0.0)
    return Finding('', '', end - begin)


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
        line = entry.clip.line
        yield entry, repeated[line] if line in repeated else next(results)


def _split_duplicates(entries: Sequence[Entry]) -> tuple[list[Entry], dict[int, Finding]]:
    """Part the first entry of every file, or part of one, from those that repeat it."""
    seen: dict[tuple[Any, ...], ListedClip] = {}
    fresh, repeated = [], {}
    for entry in entries:
        clip = entry.clip
        path = clip.path if is_remote(clip.path) else os.path.realpath(clip.path)
        first = seen.setdefault((path, clip.segment, clip.part), clip)
        if first is clip:
            fresh.append(entry)
            continue
        labels = [c.label for c in (first, clip)]
        other = f', where its label is {labels[0]}, not {labels[1]}' if len(set(labels)) > 1 else ''
        what = 'file' if clip.segment is None else 'part'
        repeated[clip.line] = Finding('duplicate', f'same {what} as line {first.line}{other}', 0.0)
    return fresh, repeated


def _here(entries: Sequence[Entry], check: partial[Finding]) -> Iterator[Finding]:
    return (check(entry.clip) for entry in entries)


def _in_processes(
    entries: Sequence[Entry], check: partial[Finding], workers: int, timeout: int
) -> Iterator[Finding]:
    """Look block by block; after a crash, the rest of the block file by file."""
    clips = iter([entry.clip for entry in entries])
    job = partial(_with_alarm, check, timeout + _GRACE)
    while block := list(islice(clips, _BLOCK)):
        done = 0
        try:
            with pool_of(workers, 'fork') as pool:
                for finding in pool.map(job, block, chunksize=8):
                    yield finding
                    done += 1
        except BrokenProcessPool:
            yield from (_alone(job, clip, timeout + _GRACE) for clip in block[done:])


def _with_alarm(check: partial[Finding], timeout: int, clip: ListedClip) -> Finding:
    # The default action ends the process also inside a decoder, which sees no Python exception.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(timeout)
    try:
        return check(clip)
    finally:
        signal.alarm(0)


def _alone(job: partial[Finding], clip: ListedClip, timeout: int) -> Finding:
    """Look at one file in a process of its own, so that a crash points at it."""
    try:
        with pool_of(1, 'fork') as pool:
            return pool.submit(job, clip).result()
    except BrokenProcessPool:
        return Finding('undecodable', f'the decoder crashed, or took longer than {timeout} s', 0.0)
