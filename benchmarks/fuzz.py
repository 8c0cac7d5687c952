"""Damaged files through the whole way of a sample: nothing may crash, hang or go unlisted."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope

from benchmarks.numbered_files import Kind, kinds, write
from benchmarks.report import Report
from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.request import ClipRequest, derive_seed
from nextvid_mm.progress import track
from nextvid_mm.registry import SCOPE

# One of each kind of container and codec that is common.
NAMES = (
    *('h264_gop12.mp4', 'h264_open_gop.mkv', 'h264.ts', 'h264.flv', 'h264.avi', 'h264_cut.mov'),
    *('hevc_2s_gop.mp4', 'mpeg4.avi', 'mpeg2.mpg', 'wmv2.wmv', 'vp9.webm', 'av1.mp4', 'mpeg2.mxf'),
    *('mpeg4.3gp', 'vp8.ogv', 'animated.gif', 'animated.webp'),
)
DAMAGES = ('flips', 'cut', 'swap', 'repeat', 'header', 'zeros')
BATCH = 64
PIPELINE = [
    dict(type='VideoInit'),
    dict(type='SampleClipByTime', fps=4),
    dict(type='VideoDecode'),
    dict(type='mmaction.Resize', scale=(32, 32), keep_ratio=False),
    dict(type='mmaction.FormatShape', input_format='NCTHW'),
    dict(type='mmaction.PackActionInputs'),
]


def damaged(content: bytes, generator: np.random.Generator) -> tuple[str, bytes]:
    """A damaged copy of a file and what was done to it."""
    kind = str(generator.choice(DAMAGES))
    data = np.frombuffer(content, np.uint8).copy()
    begin, other = (int(generator.integers(len(data))) for _ in range(2))
    length = int(min(2 ** generator.uniform(2, 14), len(data) // 3))
    if kind == 'flips':
        places = generator.integers(len(data), size=int(2 ** generator.uniform(0, 10)))
        data[places] ^= (1 << generator.integers(8, size=len(places))).astype(np.uint8)
    elif kind == 'header':
        places = generator.integers(min(4096, len(data)), size=int(2 ** generator.uniform(0, 6)))
        data[places] = generator.integers(256, size=len(places))
    elif kind == 'zeros':
        data[begin : begin + length] = 0
    elif kind == 'cut':
        whole_end = generator.random() < 0.5
        data = data[:begin] if whole_end else np.delete(data, slice(begin, begin + length))
    else:
        first, second = sorted((begin, other))
        block, target = data[first : first + length].copy(), data[second : second + length].copy()
        size = min(len(block), len(target))
        data[second : second + size] = block[:size]
        if kind == 'swap':
            data[first : first + size] = target[:size]
    return kind, data.tobytes()


def fuzz(files: int, seed: int = 0, timeout: float = 20.0) -> Report:
    """Damage files of many kinds and read each as training does.

    Args:
        files: how many damaged files.
        seed: of the damage; the same seed gives the same files.
        timeout: limit of a sample, seconds.
    """
    init_default_scope(SCOPE)
    report = Report(
        f'{files} damaged files',
        dict(files=files, seed=seed, timeout=timeout),
        ('damage', 'files', 'read', 'replaced and listed', 'not listed', 'crashes', 'hangs'),
    )
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in DAMAGES}
    slowest = 0.0
    with TemporaryDirectory() as name:
        folder = Path(name)
        originals = [_original(kind, folder) for kind in kinds() if kind.name in NAMES]
        for start in track(range(0, files, BATCH), 'damaged files', 'batches'):
            numbers = range(start, min(start + BATCH, files))
            paths, done = _write_batch(originals, folder / 'batch', seed, numbers)
            for kind, outcome, seconds in _in_process(paths, done, timeout):
                counts[kind]['files'] += 1
                counts[kind][outcome] += 1
                slowest = max(slowest, seconds)
    for kind, count in counts.items():
        report.add(damage=kind, **{column: count[column] for column in report.columns[1:]})
    report.notes.append(f'the slowest took {slowest:.1f} s')
    return report


def _original(kind: Kind, folder: Path) -> Path:
    short = Kind(kind.name, kind.codec, kind.options, kind.settings | dict(frames=150))
    if 'change' in kind.settings:
        short = Kind(kind.name, kind.codec, kind.options, dict(kind.settings))
    return write(short, folder)


def _write_batch(
    originals: list[Path], folder: Path, seed: int, numbers: range
) -> tuple[list[Path], list[str]]:
    """Damaged copies and how each was damaged."""
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    paths, done = [], []
    for number in numbers:
        generator = np.random.default_rng((seed, number))
        original = originals[number % len(originals)]
        kind, content = damaged(original.read_bytes(), generator)
        path = folder / f'{number:06d}{original.suffix}'
        path.write_bytes(content)
        paths.append(path)
        done.append(kind)
    return paths, done


def _in_process(paths: list[Path], done: list[str], timeout: float) -> list[tuple[str, str, float]]:
    """Read every file in a process of its own, started again after a crash or hang."""
    results: list[tuple[str, str, float]] = []
    context = multiprocessing.get_context('fork')
    while len(results) < len(paths):
        ours, theirs = context.Pipe()
        rest = paths[len(results) :]
        process = context.Process(target=_read, args=(rest, timeout, theirs))
        process.start()
        theirs.close()
        outcome = 'crashes'
        with suppress(EOFError):
            while len(results) < len(paths):
                if not ours.poll(timeout + 30):
                    outcome = 'hangs'
                    break
                listed, seconds = ours.recv()
                results.append((done[len(results)], listed, seconds))
        process.kill()
        process.join()
        if len(results) < len(paths):
            results.append((done[len(results)], outcome, 0.0))
    return results


def _read(paths: list[Path], timeout: float, connection: Any) -> None:
    """Ask a mixture for each file and tell what became of it."""
    names = paths[0].parent / 'list.txt'
    good = paths[0].parent.parent / 'h264_gop12.mp4'
    names.write_text('\n'.join(map(str, [*paths, good])))
    source = dict(type='ClipListDataset', ann_file=str(names), pipeline=PIPELINE)
    sources = [dict(name='fuzz', weight=1.0, dataset=source)]
    dataset = MixtureDataset(sources, max_refetch=1000, timeout=timeout)
    for number, path in enumerate(paths):
        begin = time.monotonic()
        info = dataset[ClipRequest(number, 0, number, 16, derive_seed(number))]
        info = info['data_samples'].metainfo
        listed = any(name == str(path) for name, _ in info['replaced'])
        outcome = 'read' if info['path'] == str(path) else 'replaced and listed'
        if outcome != 'read' and not listed:
            outcome = 'not listed'
        connection.send((outcome, time.monotonic() - begin))
