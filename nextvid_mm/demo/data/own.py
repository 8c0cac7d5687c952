"""Videos as people have them: containers, rates, sizes and orientations mixed, two broken."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nextvid_mm.datasets.video_writer import SMALL, encode_video
from nextvid_mm.demo.data.generate import in_processes
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.progress import progress_bar

LISTED, NAMES = 'labels.txt', 'label_map.txt'


class Kind(NamedTuple):
    """A kind of file: its suffix, and arguments of ``encode_video``."""

    suffix: str
    container: str = 'mp4'
    codec: str = 'libx264'
    options: Mapping[str, str] = SMALL | {'threads': '1'}
    turned: bool = False


KINDS = (
    Kind('.mp4'),
    Kind('.mp4', turned=True),
    Kind('.mkv', 'matroska'),
    Kind('.mov', 'mov'),
    Kind('.avi', 'avi', 'mpeg4', {'b': '1M'}),
    Kind('.webm', 'webm', 'libvpx', {'b': '1M', 'deadline': 'realtime', 'cpu-used': '8'}),
)
RATES = (8, 10, 12, 15, 30)
SHAPES = ((64, 96), (96, 64), (72, 96), (96, 72), (80, 80))  # height and width, pixels
SECONDS = (4.0, 7.0)
_NO_VIDEO = '<!doctype html><title>Sign in</title><p>Sign in to download this video.</p>\n'


class Planned(NamedTuple):
    """One file; ``broken`` is ``cut`` (the end is missing), ``page`` (no video) or empty."""

    path: Path
    number: int
    kind: Kind
    spec: DemoSpec
    shape: tuple[int, int]
    broken: str = ''


def make_own_videos(
    root: str | os.PathLike, count: int = 200, seed: int = 0, workers: int = 2, quiet: bool = False
) -> Path:
    """Make sure that ``root`` holds ``count`` videos, ``labels.txt`` and ``label_map.txt``.

    Labels are the motions; two of the files are broken, and listed like the others.

    Args:
        root: Folder; created if missing. An interrupted one is continued.
        count: How many videos.
        seed: The same one gives the same frames.
        workers: Processes; 0 renders in this one.
        quiet: Show no progress bar.

    Returns:
        ``root`` as a path.

    Raises:
        FileExistsError: If ``root`` holds anything else: it is not ours to replace.
        ValueError: If ``count`` is below 3 or ``workers`` is negative.
    """
    if count < 3 or workers < 0:
        raise ValueError(f'at least 3 videos and 0 workers are needed, found {count}, {workers}')
    root = Path(root)
    planned = plan_own_videos(root, count, seed)
    listed = ''.join(f'{item.path.name} {item.number % len(MOTIONS)}\n' for item in planned)
    if root.is_dir() and any(root.iterdir()):
        there = root / LISTED
        if not there.is_file() or there.read_text(encoding='utf-8') != listed:
            raise FileExistsError(
                f'{root} is not empty and holds other files than these {count} videos of seed '
                f'{seed}: choose another folder, or empty it yourself'
            )
    write_text(root / LISTED, listed)
    write_text(root / NAMES, ''.join(f'{motion.name}\n' for motion in MOTIONS))
    missing = [item for item in planned if not item.path.exists()]
    with progress_bar('files', quiet) as progress:
        task = progress.add_task('own videos', total=len(missing))
        for written in in_processes(_write, missing, workers if missing else 0):
            progress.advance(task, written)
    return root


def plan_own_videos(root: Path, count: int, seed: int) -> list[Planned]:
    """What ``make_own_videos`` writes."""
    broken = {count // 3: 'cut', 2 * count // 3: 'page'}
    planned = []
    for index in range(count):
        draw = np.random.default_rng([seed, index])
        # A file whose end is missing lacks the table of contents only as mp4.
        kind = KINDS[0 if broken.get(index) == 'cut' else draw.integers(len(KINDS))]
        rate, shape = int(draw.choice(RATES)), SHAPES[draw.integers(len(SHAPES))]
        frames = round(rate * draw.uniform(*SECONDS))
        spec = DemoSpec(seed=seed, num_train=count, frames=frames, fps=rate, size=max(shape))
        name = f'{index:03d}_{MOTIONS[index % len(MOTIONS)].name}{kind.suffix}'
        planned.append(Planned(root / name, index, kind, spec, shape, broken.get(index, '')))
    return planned


def _write(item: Planned) -> int:
    height, width = item.shape
    top, left = (item.spec.size - height) // 2, (item.spec.size - width) // 2
    with replace_when_complete(item.path, durable=False) as partial:
        if item.broken == 'page':
            partial.write_text(_NO_VIDEO)
            return 1
        frames, _ = render_clip(item.spec, 'train', item.number)
        seen = frames[:, top : top + height, left : left + width]
        kind = item.kind
        encode_video(
            partial, seen, item.spec.fps, kind.container, kind.codec, kind.options, kind.turned
        )
        if item.broken == 'cut':
            content = partial.read_bytes()
            partial.write_bytes(content[: len(content) // 2])
    return 1
