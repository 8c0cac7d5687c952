"""Which reader gives the right frames of which kind of file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.loading import is_usable
from benchmarks.numbered_files import Kind, kinds, number_of, shown, write
from benchmarks.report import Report
from nextvid_mm.datasets.video.backends import open_video
from nextvid_mm.progress import track

CLIPS, LENGTH, FPS = 30, 16, 4
# Seconds for one clip of ten seconds.
PATIENCE = 10.0


@dataclass
class Verdict:
    """What became of the clips of one file.

    Attributes:
        right: every frame is the one nearest in time, or as near up to the file's rounding.
        backwards: at least one frame is older than the one before it.
        failed: an error or no answer in time.
        reason: of the first that failed.
    """

    right: int = 0
    backwards: int = 0
    failed: int = 0
    reason: str = ''

    def __str__(self) -> str:
        if self.failed:
            return f'{self.right}, {self.failed} {self.reason}'
        return f'{self.right}, {self.backwards} backwards' if self.backwards else str(self.right)


def judge(path: Path, kind: Kind, backend: str = 'pyav', clips: int = CLIPS) -> Verdict:
    """Read random clips of a file as training does and look at the numbers in their frames.

    Args:
        path: of the file.
        kind: what it is.
        backend: see ``open_video``.
        clips: how many.
    """
    times, numbers = shown(path, kind)
    generator, verdict = np.random.default_rng(0), Verdict()
    for _ in range(clips):
        if verdict.reason == 'hang':  # it would again
            verdict.failed += 1
            continue
        try:
            found, wanted = _clip(path, backend, generator.random())
        except TimeoutError:
            verdict.failed, verdict.reason = verdict.failed + 1, 'hang'
            continue
        except Exception:  # they raise whatever they like
            verdict.failed, verdict.reason = verdict.failed + 1, verdict.reason or 'error'
            continue
        verdict.backwards += bool((np.diff(found) < 0).any())
        verdict.right += _is_right(found, wanted, times, numbers)
    return verdict


def _clip(path: Path, backend: str, place: float) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in the frames of a clip, and the seconds at which they were wanted."""
    video = open_video(path, backend, deadline=time.monotonic() + PATIENCE)
    room = max(1, len(video) - round((LENGTH - 1) / FPS * video.rate))
    wanted = int(place * room) / video.rate + np.arange(LENGTH) / FPS
    found = np.array([number_of(frame) for frame in video.frames_at(wanted).frames])
    video.close()
    return found, wanted


def _is_right(
    found: np.ndarray, wanted: np.ndarray, times: np.ndarray, numbers: np.ndarray
) -> bool:
    place_of = {number: place for place, number in enumerate(numbers.tolist())}
    if not all(number in place_of for number in found.tolist()):
        return False
    off = np.abs(times[[place_of[number] for number in found.tolist()]] - wanted)
    nearest = np.abs(times[None] - wanted[:, None]).min(1)
    return bool((off <= nearest + 2e-3).all())


def compare_frames(backends: Sequence[str], clips: int = CLIPS) -> Report:
    """Random clips of every kind of file, read by every backend.

    Args:
        backends: see ``open_video``.
        clips: of each file.
    """
    usable = [name for name in backends if is_usable(name)]
    report = Report(
        f'right clips of {clips}: {LENGTH} frames at {FPS} per second',
        dict(clips=clips, backends=list(backends)),
        ('file', *usable),
    )
    with TemporaryDirectory() as folder:
        for kind in track(kinds(), 'kinds of file', 'kinds'):
            path = write(kind, Path(folder))
            row = {name: str(judge(path, kind, name, clips)) for name in usable}
            report.add(file=kind.name, **row)
            path.unlink()
    if missing := sorted(set(backends) - set(usable)):
        report.notes.append(f'not usable on this machine: {", ".join(missing)}')
    return report
