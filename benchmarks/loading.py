"""What the input pipeline delivers, and where its time goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from benchmarks.report import Report
from benchmarks.timing import ratio, side_by_side
from nextvid_mm.datasets.collate import collate_clips
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.datasets.video.backends import BACKENDS, check_backend
from nextvid_mm.registry import DATASETS, SCOPE, TRANSFORMS

FRAMES = 16
BATCH = 8


def compare_backends(
    config: Config, clips: int = 64, repeats: int = 5, clock: str = 'wall'
) -> Report:
    """Open files, choose frames and decode them with every backend.

    Args:
        config: a training config; its first source of videos is read, without its cache.
        clips: clips per run.
        repeats: timed runs.
        clock: ``wall`` or ``cpu``.
    """
    source = video_source(config)
    decode = steps_until_decoded(source['dataset'])
    names = [name for name in BACKENDS if is_usable(name)]
    runs: dict[str, Callable[[], Any]] = {}
    for name in names:
        runs[name] = decoding(source['dataset'], decode, clips, backend=name)
    series = side_by_side(runs, repeats, 1, clock, 'decoders')
    report = Report(
        f'decoders, {FRAMES} frames of {source["name"]}',
        dict(clips=clips, repeats=repeats, clock=clock),
        ('decoder', 'ms per clip', '±', 'clips/s', 'pyav over this'),
    )
    for name, values in series.items():
        row = {'decoder': name, 'ms per clip': 1e3 * values.median / clips}
        row |= {'±': f'{values.spread:.0%}', 'clips/s': clips / values.median}
        row |= {'pyav over this': ratio(series['pyav'], values).median}
        report.add(**row, seconds=values.seconds)
    if missing := sorted(set(BACKENDS) - set(names)):
        report.notes.append(f'not usable on this machine: {", ".join(missing)}')
    return report


def is_usable(backend: str) -> bool:
    """Whether a backend is there with all it needs."""
    try:
        check_backend(backend)
    except ImportError:
        return False
    return True


def compare_loader(
    config: Config, clips: int = 64, workers: Sequence[int] = (0, 1), repeats: int = 5
) -> Report:
    """The whole pipeline against its decoder alone, and the time of every transform.

    Args:
        config: a training config.
        clips: clips per run, in batches of eight.
        workers: numbers of worker processes; 0 loads in this process.
        repeats: timed runs.
    """
    init_default_scope(SCOPE)
    dataset = DATASETS.build(copy.deepcopy(config.train_dataloader.dataset))
    raw = raw_decoder(dataset, clips)
    fill_caches(dataset, clips)
    runs: dict[str, Callable[[], Any]] = {'decoder alone': raw}
    for count in workers:
        runs[f'loader, {count} worker(s)'] = partial(list, make_loader(dataset, clips, count))
    report = Report(
        'input pipeline',
        dict(clips=clips, repeats=repeats, workers=list(workers), batch=BATCH, frames=FRAMES),
        ('what', 'ms per clip', '±', 'clips/s', 'rate over the decoder alone'),
    )
    # A pass begins with the request of its first batch: workers have nothing ready before.
    series = side_by_side(runs, repeats, 1, 'wall', 'loader')
    for name, values in series.items():
        row = {'what': name, 'ms per clip': 1e3 * values.median / clips}
        row |= {'±': f'{values.spread:.0%}', 'clips/s': clips / values.median}
        relative = ratio(series['decoder alone'], values).median
        report.add(**row, **{'rate over the decoder alone': relative}, seconds=values.seconds)
    parts = transform_times(dataset, clips)
    for name, seconds in parts.items():
        report.add(**{'what': f'  {name}', 'ms per clip': 1e3 * seconds / clips})
    report.notes.append(
        'decoder alone: the same files opened and the same frames read, through the cache if the '
        'config has one'
    )
    return report


def with_videos(config: Config, folder: str | None, backend: str, cache: bool) -> Config:
    """A copy of a training config that reads other videos, or in another way.

    Args:
        config: a training config.
        folder: the videos to read instead of the mixture's sources; None keeps these.
        backend: a key of ``BACKENDS``.
        cache: leave the cache of decoded frames on.
    """
    config = copy.deepcopy(config)
    dataset = config.train_dataloader.dataset
    if folder is not None:
        pipeline = video_source(config)['dataset']['pipeline']
        videos = dict(type='VideoFolder', folder=folder, pipeline=pipeline)
        dataset.sources = [dict(name=folder, weight=1.0, dataset=videos)]
    for source in dataset.sources:
        for number, step in enumerate(source.dataset.pipeline):
            if step['type'].endswith('VideoInit'):
                kept = {k: v for k, v in step.items() if cache or k != 'cache_dir'}
                source.dataset.pipeline[number] = kept | dict(backend=backend)
    return config


def video_source(config: Config) -> dict[str, Any]:
    """The first source of the mixture that reads videos.

    Raises:
        ValueError: if there is none.
    """
    for source in config.train_dataloader.dataset.sources:
        if 'Video' in source['dataset']['type'] or 'Clip' in source['dataset']['type']:
            return source
    raise ValueError(
        f'no source of train_dataloader.dataset.sources in {config.filename} reads videos'
    )


def steps_until_decoded(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """The pipeline's configs up to and including the decoder."""
    steps: list[dict[str, Any]] = []
    for step in dataset['pipeline']:
        steps.append(dict(step))
        if step['type'].endswith('Decode'):
            return steps
    raise ValueError('the pipeline of the video source decodes nothing')


def decoding(
    dataset: dict[str, Any], steps: list[dict[str, Any]], clips: int, **options: Any
) -> Callable[[], None]:
    """A function that decodes ``clips`` clips with other options of the opening transform."""
    init_default_scope(SCOPE)
    opening = {k: v for k, v in steps[0].items() if k not in ('type', 'cache_dir', 'backend')}
    first = dict(type='VideoInit') | opening | options
    pipeline = [TRANSFORMS.build(step) for step in (first, *copy.deepcopy(steps[1:]))]
    built: Any = DATASETS.build(dict(copy.deepcopy(dataset), pipeline=[]))

    def run() -> None:
        for number in range(clips):
            info = built.get_data_info(number % len(built)) | dict(num_frames=FRAMES)
            np.random.seed(number)
            for transform in pipeline:
                info = transform(info)

    return run


def requests_of(dataset: Any, clips: int) -> list[ClipRequest]:
    """The first clips of a run."""
    return list(ClipSampler(dataset, seed=0).requests(np.arange(clips), FRAMES))


def raw_decoder(dataset: Any, clips: int) -> Callable[[], None]:
    """Open the files of the first clips and decode the frames that the pipeline would choose."""
    wanted = requests_of(dataset, clips)

    def run() -> None:
        for request in wanted:
            source = dataset.sources[request.source].dataset
            info = source.get_data_info(request.index)
            info.update(num_frames=request.num_frames)
            np.random.seed(request.seed % 2**32)
            for transform in source.pipeline.transforms:
                info = transform(info)
                if 'imgs' in info or 'img' in info:
                    break

    return run


def fill_caches(dataset: Any, clips: int) -> None:
    """Read every clip once, so that caches of frames and of the disk are in the same state."""
    for request in requests_of(dataset, clips):
        dataset[request]


def make_loader(dataset: Any, clips: int, workers: int) -> DataLoader:
    """A loader as training has it: persistent workers, packed batches."""
    options: dict[str, Any] = dict(persistent_workers=True) if workers else {}
    wanted = requests_of(dataset, clips)
    batches = [wanted[start : start + BATCH] for start in range(0, clips, BATCH)]
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_clips,
        pin_memory=torch.cuda.is_available(),
        **options,
    )


def transform_times(dataset: Any, clips: int) -> dict[str, float]:
    """Seconds spent in each kind of transform over ``clips`` clips, in this process."""
    spent: dict[str, float] = {}
    pipelines = [source.dataset.pipeline for source in dataset.sources] + [dataset.pipeline]
    originals = [pipeline.transforms for pipeline in pipelines]
    try:
        for pipeline in pipelines:
            pipeline.transforms = [_clocked(transform, spent) for transform in pipeline.transforms]
        for request in requests_of(dataset, clips):
            dataset[request]
    finally:
        for pipeline, transforms in zip(pipelines, originals, strict=True):
            pipeline.transforms = transforms
    return spent


def _clocked(transform: Callable[[Any], Any], spent: dict[str, float]) -> Callable[[Any], Any]:
    name = type(transform).__name__

    def run(results: Any) -> Any:
        start = time.perf_counter()
        out = transform(results)
        spent[name] = spent.get(name, 0.0) + time.perf_counter() - start
        return out

    return run
