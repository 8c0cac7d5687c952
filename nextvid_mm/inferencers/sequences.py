"""Features over time for localizers: a file for each video, written in bounded memory.

.. code-block:: text

    folder/NAME.npy         (T, C), a row for each tubelet: layout ``actionformer``
    folder/NAME.csv         the same resized to some rows, below a header: layout ``bmn``
    folder/features.json    rates, strides and lengths of the videos; what they depend on
    folder/parts/NAME/      rows of a video that is not complete yet

A video may be of any length: rows are written part by part, and a run that was killed goes on after
the last part.

Shape legend: T rows in time (one per tubelet), C channels.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import interpolate

from nextvid_mm.checks import check_count
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.shards import require_same
from nextvid_mm.files import replace_when_complete, shown, write_text
from nextvid_mm.inferencers.features import FeatureInferencer
from nextvid_mm.inferencers.media import Media, UnreadableMediaError, shown_media
from nextvid_mm.inferencers.streaming import StreamingEncoder
from nextvid_mm.layers import resolve_dtype
from nextvid_mm.progress import progress_bar

LAYOUTS = ('actionformer', 'bmn')
STORED_TYPES = ('float32', 'float16')
NOTE, ANNOTATIONS, PARTS = 'features.json', 'activitynet.json', 'parts'
# The notes of many videos are long: a kill may cost the videos of so many seconds.
_NOTE_SECONDS = 10.0
_PUSHED = 8  # tubelets pushed into a stream at once
State = Callable[[], dict[str, Tensor]]


class RowParts:
    """Rows of one video on the disk, appended part by part; a part is whole or not there.

    Args:
        folder: where the parts lie; those that are there are continued.
    """

    def __init__(self, folder: str | Path):
        self.folder, self.rows = Path(folder), 0
        self.files: list[Path] = []
        while (file := self._part(self.rows)).is_file():
            self.files.append(file)
            self.rows += len(np.load(file, mmap_mode='r'))

    def _part(self, first: int) -> Path:
        return self.folder / f'rows-{first:09d}.npy'

    def _state(self, rows: int) -> Path:
        return self.folder / f'state-{rows:09d}.safetensors'

    def state(self) -> dict[str, Tensor] | None:
        """What was kept with the last part; None if nothing was."""
        file = self._state(self.rows)
        return load_file(file) if file.is_file() else None

    def append(self, rows: NDArray[np.floating], state: Mapping[str, Tensor] | None = None) -> None:
        """Add rows ``(T, C)``, and what is needed to go on after them."""
        file, before = self._part(self.rows), self._state(self.rows)
        if state is not None:
            with replace_when_complete(self._state(self.rows + len(rows))) as temporary:
                save_file(dict(state), temporary)
        with replace_when_complete(file) as temporary, open(temporary, 'wb') as stream:
            np.save(stream, rows)
        self.files.append(file)
        self.rows += len(rows)
        before.unlink(missing_ok=True)

    def join(self, path: Path) -> None:
        """Write all rows as one ``.npy``, a part at a time in memory."""
        first = np.load(self.files[0], mmap_mode='r')
        head = dict(descr=first.dtype.str, fortran_order=False, shape=(self.rows, first.shape[1]))
        with replace_when_complete(path) as temporary, open(temporary, 'wb') as stream:
            np.lib.format.write_array_header_1_0(stream, head)
            for file in self.files:
                stream.write(np.load(file).tobytes())

    def clear(self) -> None:
        """Forget all rows."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.rows, self.files = 0, []


def streamed_rows(
    inferencer: FeatureInferencer, path: Media, window: int, parts: RowParts
) -> Iterator[tuple[Tensor, State]]:
    """Rows ``(T, C)`` of a video that goes through a stream once, and the stream's state.

    Args:
        inferencer: of a causal encoder.
        path: the video.
        window: tubelets that the stream remembers.
        parts: what is there already; the stream goes on with the state of its end.
    """
    dtype = resolve_dtype(inferencer.dtype, inferencer.device)
    stream = StreamingEncoder(inferencer.encoder, window, inferencer.device, dtype)
    kept = parts.state()
    if kept is None:
        parts.clear()
    else:
        stream.cache.restore({name: x.to(inferencer.device) for name, x in kept.items()})
    tubelet = inferencer.encoder.tubelet_size
    for piece in inferencer.reader.pieces(path, _PUSHED * tubelet, parts.rows * tubelet):
        tokens = stream.push(piece.clip[None].to(inferencer.device))
        yield tokens[0].float().mean(1).cpu(), stream.cache.state


def windowed_rows(
    inferencer: FeatureInferencer, path: Media, parts: RowParts
) -> Iterator[tuple[Tensor, None]]:
    """Rows ``(T, C)`` of a video that is encoded window by window."""
    for tokens, _ in inferencer.rows(path, parts.rows):
        yield tokens.mean(1), None


def write_sequences(
    inferencer: FeatureInferencer,
    paths: Sequence[Media],
    folder: str | Path,
    layout: str = 'actionformer',
    window: int | None = None,
    rows: int = 100,
    stored_type: str = 'float32',
    part_rows: int = 1024,
) -> dict[str, Any]:
    """Write features over time, with a progress bar; a run that was killed goes on.

    Args:
        inferencer: makes the features.
        paths: videos; their names without folder and ending are those of the files.
        folder: may hold a part of the same work.
        layout: one of ``LAYOUTS``.
        window: tubelets that a stream remembers; None encodes windows of the inferencer.
        rows: of every file of layout ``bmn``.
        stored_type: one of ``STORED_TYPES``.
        part_rows: rows from which a part is written; what an interruption may cost.

    Returns:
        The content of ``features.json``: ``failed`` has the reason by path.

    Raises:
        ValueError: for settings that do not fit the encoder or the folder, or two videos of one
            name.
    """
    _check(inferencer, paths, layout, window, rows, stored_type)
    folder, more = Path(folder), dict(layout=layout, window=window, stored_type=stored_type)
    note = _begun(inferencer, folder, more | (dict(rows=rows) if layout == 'bmn' else {}))
    tubelet = note['num_frames']
    _check_names(paths, {name: video['path'] for name, video in note['videos'].items()})
    _write_notes(folder, note, layout)  # parts do not say of which settings they are
    written = time.monotonic()
    try:
        for number, path in enumerate(paths, start=1):
            name = name_of(path)
            if name in note['videos']:
                continue
            parts = RowParts(folder / PARTS / name)
            title = f'{name} ({number} of {len(paths)})'
            try:
                fps, duration = inferencer.reader.measure(path)
                length = fps * duration
                _fill(inferencer, path, window, parts, part_rows, stored_type, title, length)
            except UnreadableMediaError as error:
                note['failed'][str(path)] = str(error).removeprefix(f'{shown_media(path)}: ')
            else:
                seconds = parts.rows * tubelet / fps
                found = dict(path=str(path), fps=fps, rows=parts.rows, frames=parts.rows * tubelet)
                _finish(parts, folder / name, layout, rows)
                note['videos'][name] = found | dict(duration=seconds)
            if time.monotonic() > written + _NOTE_SECONDS:
                _write_notes(folder, note, layout)
                written = time.monotonic()
    finally:
        _write_notes(folder, note, layout)
    return note


def _begun(inferencer: FeatureInferencer, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """``features.json`` before this run: what an earlier one of the same settings has done."""
    encoder, settings = inferencer.encoder, inferencer.settings | settings
    note = dict(fps=inferencer.reader.fps, channels=encoder.embed_dims, settings=settings)
    note |= dict.fromkeys(('feature_stride', 'num_frames'), encoder.tubelet_size)
    note |= dict(videos={}, failed={})
    if (folder / NOTE).is_file():
        there = json.loads((folder / NOTE).read_text(encoding='utf-8'))
        require_same('folder of features over time', folder, there['settings'], settings)
        ending = '.npy' if settings['layout'] == 'actionformer' else '.csv'
        videos = there['videos'].items()  # one that was deleted is made anew
        note['videos'] = {k: v for k, v in videos if (folder / f'{k}{ending}').is_file()}
    return note


def name_of(media: Media) -> str:
    """Name of a video's file without ending: its own, with the seconds of a part behind it."""
    if not isinstance(media, ListedClip):
        return Path(media).stem
    part = str(media).removeprefix(media.path).removeprefix('#t=').replace(',', '_')
    return '_'.join(filter(None, [Path(media.path).stem, part]))


def _check(
    inferencer: FeatureInferencer,
    paths: Sequence[Media],
    layout: str,
    window: int | None,
    rows: int,
    stored_type: str,
) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f'layout={layout!r} is not one of {", ".join(LAYOUTS)}')
    if stored_type not in STORED_TYPES:
        raise ValueError(
            f'stored_type={stored_type!r} is not one of {", ".join(STORED_TYPES)}: NumPy knows no '
            'other that localizers read'
        )
    check_count(rows, '--rows')
    if window is not None:
        check_count(window, '--window')
        if not inferencer.encoder.streams:
            raise ValueError(
                f'--window {window} is for an encoder that goes frame by frame; '
                f'{type(inferencer.encoder).__name__} needs whole clips: leave it out'
            )


def _check_names(paths: Sequence[Media], names: dict[str, str]) -> None:
    """Raise where two videos have one name, among them those that are done (``names``)."""
    for media in paths:
        path, name = str(media), name_of(media)
        other = names.setdefault(name, path)
        if os.path.abspath(other) != os.path.abspath(path):
            raise ValueError(
                f'{shown(other)} and {shown(path)} would both be {name}: give them folders of '
                'their own (--out), or rename one'
            )


@torch.no_grad()
def _fill(
    inferencer: FeatureInferencer,
    path: Media,
    window: int | None,
    parts: RowParts,
    part_rows: int,
    stored_type: str,
    title: str,
    frames: float,
) -> None:
    """Append the rows that are missing."""
    made: Iterator[tuple[Tensor, State | None]]
    if window is None:
        made = windowed_rows(inferencer, path, parts)
    else:
        made = streamed_rows(inferencer, path, window, parts)
    pending: list[Tensor] = []

    def flush(state: State | None) -> None:
        rows = torch.cat(pending).numpy().astype(stored_type)
        parts.append(rows, None if state is None else state())
        pending.clear()

    with progress_bar('rows') as bar:
        total = -(-math.ceil(frames) // inferencer.encoder.tubelet_size)
        task = bar.add_task(title, total=total, completed=parts.rows)
        for rows, state in made:
            pending.append(rows)
            waiting = sum(map(len, pending))
            bar.update(task, completed=parts.rows + waiting)
            if waiting >= part_rows:
                flush(state)
    if sum(map(len, pending)):
        flush(state)


def _finish(parts: RowParts, stem: Path, layout: str, rows: int) -> None:
    """Put the parts together, and remove them."""
    if layout == 'actionformer':
        parts.join(stem.with_name(f'{stem.name}.npy'))
    else:
        table = np.concatenate([np.load(file) for file in parts.files]).astype(np.float32)
        columns = torch.from_numpy(table.T.copy())[None]
        table = interpolate(columns, size=rows, mode='linear')[0].T.numpy()
        head = ','.join(f'f{number}' for number in range(table.shape[1]))
        with replace_when_complete(stem.with_name(f'{stem.name}.csv')) as temporary:
            np.savetxt(temporary, table, '%.6g', delimiter=',', header=head, comments='')
    parts.clear()


def _write_notes(folder: Path, note: Mapping[str, Any], layout: str) -> None:
    """``features.json``, and for MMAction2 its annotations without any action yet."""
    write_text(folder / NOTE, json.dumps(note, indent=1) + '\n')
    if layout != 'bmn':
        return
    entries = {
        name: dict(
            duration_second=video['duration'],
            duration_frame=video['frames'],
            feature_frame=video['frames'],
            fps=video['fps'],
            rfps=video['fps'],
            annotations=[],
        )
        for name, video in note['videos'].items()
    }
    write_text(folder / ANNOTATIONS, json.dumps(entries, indent=1) + '\n')
