"""What reading a clip costs by where it lies, and what a list of millions costs."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from benchmarks.numbered_files import picture
from benchmarks.report import Report
from benchmarks.servers import bucket, web_server
from benchmarks.timing import side_by_side, timed
from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.list_index import ClipList, open_list
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.mixture_schedule import MixtureSchedule
from nextvid_mm.datasets.packing import pack
from nextvid_mm.datasets.samplers import ClipSampler
from nextvid_mm.registry import SCOPE
from nextvid_mm.storage import _Remote

RECIPE = Path(__file__).resolve().parents[1] / 'configs/_base_/datasets/paper_mixture.py'
FRAMES = 16
SIZE, RATE, SECONDS, GOP = (340, 256), 30, 10, 12


def compare_sources(clips: int = 32, repeats: int = 5) -> Report:
    """Read clips of the same videos from files, tar files, a web server and a bucket.

    A clip goes through the whole pipeline of the published recipe. The servers run on this machine,
    in processes of their own: what is compared is the work of reading, not a network.

    Args:
        clips: clips per run.
        repeats: timed runs.
    """
    report = Report(
        f'clips of {FRAMES} frames from {SECONDS} s of H.264, {SIZE[0]} x {SIZE[1]}, GOP {GOP}',
        dict(clips=clips, repeats=repeats),
        ('source', 'ms a clip', '±', 'processor ms', 'fetching', 'clips/s', 'KB fetched',
         'share of the file', 'requests'),
    )  # fmt: skip
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        size = _write_videos(folder)
        places: dict[str, tuple[str, str, dict[str, Any]]] = {
            'files': (f'{folder}/list.txt', str(folder), {}),
            'tar files': (f'{folder}/{TABLE}', str(folder), {}),
        }
        if (address := stack.enter_context(web_server(folder))) is not None:
            places['HTTP, files'] = (f'{address}/list.txt', address, {})
            places['HTTP, tar files'] = (f'{address}/{TABLE}', address, {})
        else:
            report.notes.append('HTTP: nginx is not installed')
        if (options := stack.enter_context(bucket(folder))) is not None:
            places['S3, files'] = (f'{folder}/list.txt', 's3://bucket', options)
            places['S3, tar files'] = (f'{folder}/{TABLE}', 's3://bucket', options)
        else:
            report.notes.append('S3: moto or s3fs is not installed')
        ready = {
            name: (open_list(listed, prefix), pipeline_of(storage))
            for name, (listed, prefix, storage) in places.items()
        }
        spent: dict[str, list[float]] = {name: [] for name in places}

        def read(name: str) -> None:
            begin = time.process_time()
            read_clips(*ready[name], clips)
            spent[name].append(1e3 * (time.process_time() - begin) / clips)

        runs = {name: partial(read, name) for name in places}
        series = side_by_side(runs, repeats, 1, 'wall', 'sources')
        for name, values in series.items():
            with counted() as count:
                _, wall = timed(runs[name])
            row = {'source': name, 'ms a clip': 1e3 * values.median / clips}
            row |= {'±': f'{values.spread:.0%}', 'clips/s': clips / values.median}
            row['processor ms'] = median(spent[name][1:])
            row['fetching'] = f'{count["seconds"] / wall:.0%}'
            fetched = count['bytes'] / clips if count['requests'] else size
            row |= {'KB fetched': fetched / 1e3, 'share of the file': fetched / size}
            row['requests'] = count['requests'] / clips
            report.add(**row, seconds=values.seconds)
    report.notes.append('servers of this machine, one process: a network adds its own time')
    return report


def provision(measured: Report, gpus: int = 96, batch: int = 32, step_ms: float = 600.0) -> Report:
    """What reading costs a training: cores, readers and traffic, from the cost of a clip.

    Args:
        measured: of :func:`compare_sources`.
        gpus: how many there are.
        batch: clips that a GPU takes in a step.
        step_ms: milliseconds of that step.
    """
    rate = 1e3 * batch / step_ms
    report = Report(
        f'{gpus} GPUs, {batch} clips each in {step_ms:g} ms: {rate:.1f} clips/s a GPU',
        dict(gpus=gpus, batch=batch, step_ms=step_ms),
        ('source', 'readers a GPU', 'cores a GPU', 'Gbit/s a GPU', 'requests/s in all',
         'Gbit/s in all', 'what limits'),
    )  # fmt: skip
    for row in measured.rows:
        wall, spent = (row[name] / 1e3 for name in ('ms a clip', 'processor ms'))
        bits = 8e-6 * row['KB fetched'] * rate
        limit = 'fetching' if int(row['fetching'].rstrip('%')) > 50 else 'decoding'
        report.add(
            **{
                'source': row['source'],
                'readers a GPU': math.ceil(rate * max(wall, spent)),
                'cores a GPU': rate * spent,
                'Gbit/s a GPU': bits,
                'requests/s in all': gpus * rate * row['requests'],
                'Gbit/s in all': gpus * bits,
                'what limits': limit,
            }
        )
    return report


def pipeline_of(storage: Mapping[str, Any]) -> Compose:
    """The pipeline of the published recipe, up to the sample of a batch."""
    config = Config.fromfile(RECIPE)
    steps = [dict(step) for step in config.video_pipeline]
    steps[0]['storage'] = dict(storage)
    with DefaultScope.overwrite_default_scope(SCOPE):
        return Compose([*steps, *config.train_dataloader.dataset.pipeline])


def read_clips(entries: ClipList, pipeline: Compose, clips: int) -> None:
    """Take clips of a list through a pipeline."""
    for number in range(clips):
        np.random.seed(number)
        info = dict(num_frames=FRAMES, sample_seed=number, static=False, modality='RGB')
        pipeline(entries[number % len(entries)] | info)


def _write_videos(folder: Path, videos: int = 8) -> float:
    """Videos, their list, and the same in tar files; gives the mean size of a video in bytes."""
    names = [f'{number}.mp4' for number in range(videos)]
    for first, name in enumerate(names):
        with av.open(str(folder / name), 'w') as container:
            stream = container.add_stream('libx264', rate=RATE, options={'g': str(GOP)})
            stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
            for number in range(RATE * SECONDS):
                shown = picture((100 * first + number) % 1000, SIZE)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format='rgb24')))
            container.mux(stream.encode())
    (folder / 'list.txt').write_text('\n'.join(names))
    entries = [ListedClip(str(folder / name), -1, line) for line, name in enumerate(names, 1)]
    index_shards([packed.shard for packed in pack(entries, folder / 'tar', 4, workers=0)],
                 folder / TABLE)  # fmt: skip
    return float(np.mean([(folder / name).stat().st_size for name in names]))


@contextmanager
def counted() -> Iterator[dict[str, Any]]:
    """Count requests, bytes and seconds of fetching remote files meanwhile."""
    count: dict[str, Any] = dict(requests=0, bytes=0, seconds=0.0)
    fetch = _Remote._fetch

    def counting(self: _Remote, first: int, last: int) -> bytes:
        begin = time.perf_counter()
        try:
            return fetch(self, first, last)
        finally:
            count['requests'] += 1
            count['bytes'] += last - first
            count['seconds'] += time.perf_counter() - begin

    _Remote._fetch = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        _Remote._fetch = fetch  # type: ignore[method-assign]


def measure_lists(lines: int = 1_000_000) -> Report:
    """Index, open and read a list of many lines; look up a far position of a schedule.

    Args:
        lines: of the list.
    """
    report = Report(
        f'a list of {lines:,} lines',
        dict(lines=lines),
        ('what', 'seconds', 'processor s', 'MB of this process'),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'list.txt')
        with path.open('w') as file:
            file.writelines(
                f'part{n // 1000:05d}/video_{n:09d}.mp4 {n % 400}\n' for n in range(lines)
            )
        for what in ('read it into an index', 'open it'):
            _measure(report, what, lambda: open_list(path, 's3://bucket'))
        entries, rng = open_list(path, 's3://bucket'), np.random.default_rng(0)
        places = rng.integers(lines, size=1000).tolist()
        _measure(report, '1,000 entries', lambda: [entries[place] for place in places])
        _measure(report, 'a mixture of it, and what its first 32 clips are', lambda: _first(path))
    schedule = MixtureSchedule(list('abcd'), [0.1, 0.2, 0.3, 0.4], [lines] * 4, seed=0)
    schedule.draw(0)
    far = range(100_000_000, 200_000_000, 10_000_000)
    _measure(report, '10 positions beyond 100,000,000', lambda: list(map(schedule.draw, far)))
    return report


def _first(path: Path) -> list[dict[str, Any]]:
    """Data infos of a run's first batch."""
    dataset = dict(
        type='ClipListDataset', ann_file=str(path), data_prefix=dict(video='s3://b'), pipeline=[]
    )  # fmt: skip
    with DefaultScope.overwrite_default_scope(SCOPE):
        mixture = MixtureDataset([dict(name='videos', weight=1.0, dataset=dataset)])
    requests = ClipSampler(mixture, seed=0).requests(np.arange(32), FRAMES)
    return [mixture.sources[0].dataset.get_data_info(request.index) for request in requests]


def _measure(report: Report, what: str, work: Any) -> None:
    memory, wall, spent = _private_memory(), time.perf_counter(), time.process_time()
    kept = work()
    seconds, processor = time.perf_counter() - wall, time.process_time() - spent
    grown = _private_memory() - memory
    report.add(**{'what': what, 'seconds': seconds, 'processor s': processor,
                  'MB of this process': grown / 2**20})  # fmt: skip
    del kept


def _private_memory() -> int:
    """Bytes that this process shares with no other."""
    with open('/proc/self/status') as status:
        line = next(line for line in status if line.startswith('RssAnon'))
    return int(line.split()[1]) << 10
