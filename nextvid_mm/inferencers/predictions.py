"""Classifying files: whole, or a long video segment by segment."""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nextvid_mm.data_checks import one_line
from nextvid_mm.datasets.clip_shards import opened
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.video.files import is_image
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.engine.processes import GuardedLoader
from nextvid_mm.inferencers.classifier import Classifier
from nextvid_mm.inferencers.media import Media
from nextvid_mm.progress import track


@dataclass(frozen=True)
class Prediction:
    """What a file, or a segment of it, is.

    Attributes:
        path: the file.
        scores: probabilities ``(K,)``; None if it could not be read.
        failure: then, why.
        segment: seconds from and to; None for the whole file.
        part: first byte and number of bytes of a file in a tar file.
    """

    path: str
    scores: Tensor | None = None
    failure: str | None = None
    segment: tuple[float, float] | None = None
    part: tuple[int, int] | None = None

    @property
    def file(self) -> str | IO[bytes]:
        """What a reader takes for the whole file."""
        return opened(ListedClip(self.path, -1, 0, math.nan, math.nan, *(self.part or (-1, -1))))

    def top(self, names: Sequence[str], k: int) -> list[dict[str, Any]]:
        """The k likeliest classes, the first first: ``label``, ``name``, ``probability``."""
        if self.scores is None:
            return []
        found = self.scores.topk(min(k, len(self.scores)))
        return [
            dict(label=label, name=names[label], probability=value)
            for value, label in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        ]


def classify_in_turn(
    classifier: Classifier,
    paths: Sequence[Media | Path],
    segment: float | None = None,
    stride: float | None = None,
    batch_size: int = 4,
    workers: int = 0,
    progress: bool = True,
) -> Iterator[Prediction]:
    """Classify files batch by batch, in their order; those that cannot be read say why.

    Args:
        classifier: what classifies.
        paths: videos, or images for a classifier of images, as of ``find_media``.
        segment: cut videos, or parts of them that a list names, into parts of so many seconds,
            each classified like a video of its own; the last is moved back so that it is full.
        stride: seconds from part to part; None does not overlap them.
        batch_size: videos (parts) that are read and classified together.
        workers: processes that read.
        progress: show a progress bar.

    Yields:
        Predictions, as soon as their batch is through.

    Raises:
        ValueError: for a number that is not above 0.
    """
    for name, value in dict(segment=segment, stride=stride, batch_size=batch_size).items():
        if value is not None and not value > 0:
            raise ValueError(f'{name}={value!r} must be above 0')
    if stride is not None and segment is None:
        raise ValueError(f'stride={stride!r} is the distance of segments: give their length, too')
    jobs: list[Prediction] = []
    console = Console(stderr=True)  # predictions may go to the standard output
    quiet = not progress or segment is None
    for path in track(paths, 'looking', 'files', quiet=quiet, console=console):
        media = str(path) if isinstance(path, Path) else path
        jobs += _parts(media, segment, stride or segment)
    samples = _Samples(classifier.pipeline, jobs)
    loader: Any = GuardedLoader(
        DataLoader(samples, batch_size, num_workers=workers, collate_fn=list)
    )
    batches = track(loader, 'classifying', 'batches', quiet=not progress, console=console)
    for batch in batches:
        yield from _finish(classifier, batch)


def classify(
    classifier: Classifier, paths: Sequence[Media | Path], **settings: Any
) -> list[Prediction]:
    """Classify files, in their order; arguments and errors are those of ``classify_in_turn``."""
    return list(classify_in_turn(classifier, paths, **settings))


def _parts(media: Media, segment: float | None, stride: float | None) -> Iterator[Prediction]:
    """The parts of a file that are classified; a file that does not open fails later."""
    clip = media if isinstance(media, ListedClip) else ListedClip(media)
    begin, end = clip.segment or (0.0, None)
    whole = Prediction(clip.path, segment=clip.segment, part=clip.part)  # type: ignore[arg-type]
    try:
        if is_image(clip.path) or (segment is None and (clip.segment is None or end is not None)):
            yield whole
            return
        with VideoReader(opened(clip)) as video:
            duration = video.duration
    except (ValueError, OSError) as error:
        yield replace(whole, segment=None, failure=one_line(error))
        return
    end = duration if end is None else min(end, duration)
    length = segment or end - begin
    if end - begin <= length:
        yield replace(whole, segment=(begin, end))
        return
    for number in itertools.count():
        start = begin + number * (stride or length)
        last = start >= end - length  # ``start + length`` may round to less than ``end`` for ever
        start = end - length if last else start
        yield replace(whole, segment=(start, end if last else start + length))
        if last:
            return


class _Samples(Dataset):
    """Reads one job after the other; beside the sample, the job, with the reason of a failure."""

    def __init__(self, pipeline: Any, jobs: Sequence[Prediction]) -> None:
        self.pipeline, self.jobs = pipeline, jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> tuple[Prediction, Any]:
        job = self.jobs[index]
        if job.failure is not None:
            return job, None
        info = dict(filename=job.path, img_path=job.path, label=-1, start_index=0, modality='RGB')
        try:
            return job, self.pipeline(info | dict(segment=job.segment, part=job.part))
        except MemoryError:
            raise
        except Exception as error:  # decoders raise whatever they like
            return replace(job, failure=one_line(error)), None


def _finish(classifier: Classifier, batch: Sequence[tuple[Prediction, Any]]) -> list[Prediction]:
    """Add the scores of a batch, whose samples go through the model by shape."""
    scores: dict[int, Tensor] = {}
    groups: dict[tuple, list[int]] = {}
    for place, (_, sample) in enumerate(batch):
        if sample is not None:
            groups.setdefault(tuple(sample['inputs'].shape), []).append(place)
    for places in groups.values():
        found = classifier.scores([batch[place][1] for place in places])
        scores.update(zip(places, found, strict=True))
    return [replace(job, scores=scores.get(place)) for place, (job, _) in enumerate(batch)]


def merge(predictions: Sequence[Prediction]) -> list[list[Prediction]]:
    """Predictions by file, in order."""
    groups: dict[str, list[Prediction]] = {}
    for one in predictions:
        groups.setdefault(one.path, []).append(one)
    return list(groups.values())


def as_data(predictions: Sequence[Prediction], names: Sequence[str], k: int) -> dict[str, Any]:
    """Plain values for JSON: ``classes``, and by file ``top``, ``segments`` or ``failure``."""
    files = []
    for parts in merge(predictions):
        entry: dict[str, Any] = dict(path=parts[0].path)
        read = [part.scores for part in parts if part.scores is not None]
        failed = [part for part in parts if part.failure is not None]
        if read:
            entry['top'] = Prediction('', torch.stack(read).mean(0)).top(names, k)
        if failed:
            entry['failure'] = failed[0].failure
        if parts[0].segment is not None:
            entry['segments'] = [
                dict(start=part.segment[0], end=part.segment[1], top=part.top(names, k))
                for part in parts
                if part.segment is not None
            ]
        files.append(entry)
    return dict(classes=list(names), files=files)


def as_csv(predictions: Sequence[Prediction], names: Sequence[str], k: int) -> str:
    """One line per file or segment and class: path, start, end, rank, label, name, probability."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['path', 'start', 'end', 'rank', 'label', 'name', 'probability', 'failure'])
    for one in predictions:
        start, end = one.segment or ('', '')
        for rank, entry in enumerate(one.top(names, k), start=1):
            row = [entry['label'], entry['name'], f'{entry["probability"]:.6f}']
            writer.writerow([one.path, start, end, rank, *row, ''])
        if one.failure is not None:
            writer.writerow([one.path, start, end, '', '', '', '', one.failure])
    return text.getvalue()
