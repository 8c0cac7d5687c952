"""What a folder of videos holds: looked at with the reader of training, a sample where it is large.

Lengths in seconds, sizes in pixels.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nextvid_mm.data_checks import one_line
from nextvid_mm.datasets.listed_clips import ListedClip, read_entries
from nextvid_mm.datasets.video.backends import open_video
from nextvid_mm.datasets.video.files import is_image, walk
from nextvid_mm.plan.proposed_configs import Choice
from nextvid_mm.progress import track

SAMPLE = 64
_TIMEOUT = 30.0  # seconds for one video
_VALIDATION = 0.2  # share of a list that has none
RATES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 24, 25, 30, 50, 60)  # frames per second of a clip
LENGTHS = (64, 48, 32, 24, 16, 8, 4)  # frames of a clip
FEWEST_CLIPS = 64


@dataclass(frozen=True)
class Look:
    """One video, by its header and first frame."""

    seconds: float
    rate: float
    height: int
    width: int


@dataclass(frozen=True)
class Survey:
    """A folder.

    Attributes:
        folder: as it was given.
        videos: how many there are.
        pictures: likewise.
        looks: at the videos of the sample that can be read.
        broken: path and reason of those that cannot.
        notes: what else was left out.
    """

    folder: str
    videos: int
    pictures: int
    looks: Sequence[Look]
    broken: Sequence[str] = ()
    notes: Sequence[str] = ()

    def quantile(self, of: str, share: float) -> float:
        """Of the lengths (``seconds``), rates (``rate``) or short sides (``side``)."""
        values = [
            min(look.height, look.width) if of == 'side' else getattr(look, of)
            for look in self.looks
        ]
        return float(np.quantile(values, share, method='lower'))

    @property
    def _each(self) -> float:
        """Videos for each look, with the share of those that cannot be read."""
        return self.videos / (len(self.looks) + len(self.broken))

    @property
    def seconds(self) -> float:
        """Of all videos, from the mean of the sample."""
        return self._each * sum(look.seconds for look in self.looks)

    def clips(self, span: float) -> int:
        """How many clips of ``span`` seconds lie side by side in all videos; one in a shorter."""
        return round(self._each * sum(max(1.0, look.seconds / span) for look in self.looks))

    def describe(self) -> list[str]:
        """Lines for the terminal."""
        middle = {of: self.quantile(of, 0.5) for of in ('seconds', 'rate', 'side')}
        upright = sum(look.height > look.width for look in self.looks) / len(self.looks)
        lines = [
            f'{self.folder}: {self.videos:,} videos, about {self.seconds / 3600:,.2f} h; '
            f'{self.pictures:,} pictures',
            f'looked at {len(self.looks) + len(self.broken)}: median {middle["seconds"]:.1f} s at '
            f'{middle["rate"]:g} frames/s, short side {middle["side"]:.0f} px '
            f'({upright:.0%} portrait); a quarter is shorter than '
            f'{self.quantile("seconds", 0.25):.1f} s',
            *self.notes,
        ]
        if self.broken:
            lines.append(
                f'{len(self.broken)} of them cannot be read, the first is {self.broken[0]}; '
                'training replaces such files, tools/scan_dataset.py lists them all'
            )
        return lines


def survey(folder: str | Path, sample: int = SAMPLE) -> Survey:
    """Look at a folder.

    Args:
        folder: with videos and pictures anywhere below it.
        sample: how many videos are opened, spread evenly over the sorted paths.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds no video, or none of the sample can be read.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f'{folder}: there is no such folder')
    found = walk(folder)
    pictures = {path for path in found.files if is_image(path)}
    videos = [path for path in found.files if path not in pictures]
    if not videos:
        raise ValueError(
            f'{folder} holds {len(pictures):,} pictures and no video: next frames are learned from '
            'videos (docs/data.md lists the suffixes)'
        )
    places = np.linspace(0, len(videos) - 1, min(sample, len(videos))).round().astype(int)
    looks, broken = [], []
    for path in track([videos[place] for place in places], 'looking at videos', 'videos'):
        try:
            looks.append(_look(path))
        except Exception as error:  # decoders raise whatever they like
            broken.append(f'{path} ({one_line(error)})')
    if not looks:
        raise ValueError(f'none of {len(broken)} videos of {folder} can be read: {broken[0]}')
    notes = found.notes()
    return Survey(str(folder), len(videos), len(pictures), looks, broken, notes)


def _look(path: str) -> Look:
    video = open_video(path, deadline=time.monotonic() + _TIMEOUT)
    try:
        height, width = video.frames_at([0.0]).frames[0].shape[:2]
        return Look(video.duration, video.rate, height, width)
    finally:
        video.close()


@dataclass(frozen=True)
class Clip:
    """Rate and frames of a clip, frames of the cool-down's, and how many clips there are."""

    fps: float
    num_frames: int
    longest: int
    different: int


def fit_clip(found: Survey) -> tuple[Clip, list[Choice]]:
    """Rate and frames such that three quarters of the videos hold a clip.

    Raises:
        ValueError: if the videos are too short for two tubelets, or hold next to no clips.
    """
    seconds, rate = found.quantile('seconds', 0.25), found.quantile('rate', 0.25)
    frames = int(seconds * rate + 1e-3)
    if frames < LENGTHS[-1]:
        raise ValueError(
            f'{found.folder}: a quarter of the videos has {frames} frames or fewer '
            f'({seconds:.2f} s at {rate:g} frames/s); predicting the next frame needs '
            f'{LENGTHS[-1]}: leave out the short ones (tools/scan_dataset.py --min-frames)'
        )
    rates = [r for r in RATES if r < rate] + [rate]
    fps = float(min(4, rates[-1]))
    why = 'as published' if fps == 4 else 'all that there are; 4 are published'
    if 15 / fps > seconds:  # too short for that: closer frames, as far as there are any
        fps = next((r for r in rates if r > fps and 15 / r <= seconds), rates[-1])
        why = f'closer than the published 4: a quarter of the videos ends at {seconds:.2g} s'
    length = next(n for n in LENGTHS if n <= min(16, frames) and (n - 1) / fps <= seconds)
    span = (length - 1) / fps
    known = 'as published' if length == 16 else 'fewer than the published 16'
    choices = [
        Choice('frames per second', f'{fps:g}', why),
        Choice(
            'frames of a clip',
            str(length),
            f'{known}; three quarters of the videos hold its {span:.3g} s',
        ),
    ]
    if short := sum(look.seconds < span for look in found.looks):
        share = f'{short / len(found.looks):.0%}'
        choices.append(Choice('shorter videos', share, 'their last frame is repeated'))
    different = found.clips(max(span, 1 / fps))
    if different < FEWEST_CLIPS:
        raise ValueError(
            f'{found.folder}: {found.videos} video(s) hold {different} clip(s) of {span:.2f} '
            'seconds, which an encoder would learn by heart; pretraining needs at least '
            f'{FEWEST_CLIPS} and should have thousands. Add videos, or fine-tune a published '
            'encoder: docs/finetune.md'
        )
    longest = next(n for n in LENGTHS if n <= 4 * length and (n - 1) / fps <= seconds)
    return Clip(fps, length, longest, different), choices


@dataclass(frozen=True)
class Labels:
    """Labelled videos of a folder, paths relative to it.

    Attributes:
        train: path and label.
        val: likewise.
        classes: the largest label + 1.
        notes: what was left out or split.
    """

    train: Sequence[tuple[str, int]]
    val: Sequence[tuple[str, int]]
    classes: int
    notes: Sequence[str]


def read_labels(lists: Sequence[str | Path], folder: str | Path) -> Labels:
    """Read one list, and take a fifth of each class for validation, or two.

    Args:
        lists: of "path label" lines, paths relative to ``folder``.
        folder: with the videos.

    Raises:
        FileNotFoundError: if a list is missing.
        ValueError: if a list names no file of the folder, or a line has no label; names list and
            line.
    """
    notes: list[str] = []
    parts = [_present(Path(path), Path(folder), notes) for path in lists]
    if len(parts) == 1:
        parts = _split(parts[0])
        notes.append(
            f'{lists[0]}: {len(parts[1])} of {len(parts[0]) + len(parts[1])} labelled videos, '
            'of every class about a fifth, are kept for validation'
        )
    train, val = parts
    seen = {label for _, label in train}
    classes = max(label for _, label in [*train, *val]) + 1
    if len(seen) < 2:
        raise ValueError(f'{lists[0]}: labels to train on are {sorted(seen)}; at least two classes')
    if missing := sorted(set(range(classes)) - seen):
        notes.append(f'no video to train on has the label(s) {missing[:10]} of 0 to {classes - 1}')
    if not val:
        raise ValueError(
            f'{lists[0]}: no class has two videos, so none is left for validation: give a second '
            'list, --labels TRAIN VAL'
        )
    return Labels(train, val, classes, notes)


def _present(path: Path, folder: Path, notes: list[str]) -> list[tuple[str, int]]:
    """Labelled files of a list that are there."""
    if not path.is_file():
        raise FileNotFoundError(f'--labels {path}: there is no such list')
    entries = list(read_entries(str(path)))
    if parts := [entry for entry in entries if entry.segment or entry.part]:
        raise ValueError(
            f'--labels {path}, line {parts[0].line}: {parts[0]} is a part of a file; proposed '
            'configs are for whole files: write one by hand, docs/data.md'
        )
    there = [entry for entry in entries if os.path.isfile(folder / entry.path)]
    if not there:
        example = f', such as {entries[0].path!r} in line {entries[0].line}' if entries else ''
        raise ValueError(
            f'--labels {path}: none of its {len(entries)} paths{example}, is a file of {folder}; '
            'they must be relative to that folder'
        )
    _require_label(there, path)
    if len(there) < len(entries):
        notes.append(f'{path}: {len(entries) - len(there)} of {len(entries)} files are not there')
    return [(entry.path, entry.label) for entry in there]


def _require_label(entries: Sequence[ListedClip], path: Path) -> None:
    for entry in entries:
        if entry.label < 0:
            raise ValueError(
                f'--labels {path}, line {entry.line}: {entry.path!r} has no label; lines are '
                '"path label", labels are whole numbers from 0'
            )


def _split(entries: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """Every fifth video of a class, in a drawn order, is for validation; at least one of two."""
    order = np.random.default_rng(0).permutation(len(entries))
    counts, seen = Counter(label for _, label in entries), Counter[int]()
    train: list[tuple[str, int]] = []
    val: list[tuple[str, int]] = []
    for place in order.tolist():
        path, label = entries[place]
        seen[label] += 1
        wanted = max(1, round(_VALIDATION * counts[label])) if counts[label] > 1 else 0
        (val if seen[label] <= wanted else train).append((path, label))
    return [sorted(train), sorted(val)]
