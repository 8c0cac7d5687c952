"""A weighted mixture of image and video datasets, read clip by clip on request."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from torch.utils.data import Dataset, get_worker_info

from nextvid_mm.data_checks import check_files, one_line, path_of, require_data_of
from nextvid_mm.datasets.mixture_schedule import make_key, permute
from nextvid_mm.datasets.request import ClipRequest, derive_seed, isolated_rng
from nextvid_mm.datasets.video.decoder import interruptible
from nextvid_mm.datasets.video_lists import misread_line
from nextvid_mm.registry import DATASETS

_HEADER = np.dtype([('pid', '<i8'), ('length', '<i8'), ('begin', '<f8')])


class Source(NamedTuple):
    """One dataset of a mixture."""

    name: str
    weight: float
    dataset: BaseDataset


class Failure(NamedTuple):
    """A file that could not be read."""

    path: str
    reason: str


@DATASETS.register_module()
class MixtureDataset(Dataset):
    """Serves the clips that a :class:`~nextvid_mm.datasets.samplers.StageBatchSampler` asks for.

    A sample is loaded by its source's own pipeline, under generators seeded from the request
    alone. The pipeline finds ``num_frames``, ``sample_seed`` and ``position`` in the results. A
    sample that cannot be read (an error, or a pipeline that returns None) is replaced by another
    of the same source; which one follows from the request too.

    Every data sample gets these metainfo fields: ``position``, ``sample_seed``, ``source`` (name),
    ``path``, ``seconds`` (of its first and last frame in the video; None for images) and
    ``replaced``, the list of (path, reason) of the samples it stands in for.

    Args:
        sources: Per source a dict of ``name``, ``weight`` (only proportions matter; 0 switches it
            off, and its data need not be there), ``dataset`` (config of any MMEngine-style
            dataset, such as ``mmaction.VideoDataset``, with its pipeline) and optionally
            ``check_files`` (look for every file at start; default False).
        pipeline: Transforms that follow each source's own. Errors in these are never taken for
            unreadable data.
        max_refetch: Most samples tried in place of one that cannot be read.
        timeout: Seconds to read one sample, after which it is replaced; for pipelines that begin
            with ``VideoInit``.

    Raises:
        ValueError: If a source lacks a key or has an unknown one, or a line of its list cannot be
            read.
        FileNotFoundError: If data is missing; names source, folder and the page about data.
    """

    def __init__(
        self,
        sources: Sequence[Mapping[str, Any]],
        pipeline: Sequence[dict | Callable] | None = None,
        max_refetch: int = 100,
        timeout: float = 60.0,
    ) -> None:
        if not sources:
            raise ValueError('MixtureDataset.sources is empty: list at least one source')
        if max_refetch < 0:
            raise ValueError(f'MixtureDataset.max_refetch={max_refetch} must be 0 or larger')
        self.sources = [_build_source(place, dict(config)) for place, config in enumerate(sources)]
        self.pipeline = Compose(pipeline or [])
        if timeout <= 0:
            raise ValueError(f'MixtureDataset.timeout={timeout} must be above 0 seconds')
        self.max_refetch, self.timeout = max_refetch, timeout
        self._breadcrumbs = Breadcrumbs()

    @property
    def names(self) -> list[str]:
        """Names of the sources."""
        return [source.name for source in self.sources]

    @property
    def weights(self) -> list[float]:
        """Sampling weights of the sources."""
        return [source.weight for source in self.sources]

    @property
    def lengths(self) -> list[int]:
        """Number of items of each source."""
        return [len(source.dataset) for source in self.sources]

    @property
    def static(self) -> list[bool]:
        """Whether the clips of each source are one picture all the time, as its pipeline says."""
        pipelines = [getattr(source.dataset, 'pipeline', None) for source in self.sources]
        return [
            any(getattr(step, 'static', False) for step in getattr(pipeline, 'transforms', ()))
            for pipeline in pipelines
        ]

    @property
    def metainfo(self) -> dict[str, Any]:
        """Names, weights and lengths of the sources."""
        return dict(sources=self.names, weights=self.weights, lengths=self.lengths)

    def __len__(self) -> int:
        return sum(self.lengths)

    def __getitem__(self, request: ClipRequest) -> dict[str, Any]:
        """Load one clip.

        Args:
            request: What to load.

        Returns:
            What the pipelines return, usually ``dict(inputs=Tensor,
            data_samples=ActionDataSample)``.

        Raises:
            RuntimeError: If neither the sample nor a replacement can be read; names the source.
        """
        if not isinstance(request, ClipRequest):
            raise TypeError(
                f'MixtureDataset is indexed by ClipRequest, found {type(request).__name__}: '
                'its DataLoader needs batch_sampler=StageBatchSampler (StageTrainLoop sets it)'
            )
        source = self.sources[request.source]
        failures: list[Failure] = []
        for index, seed in self._candidates(request):
            info = source.dataset.get_data_info(index)
            info.update(num_frames=request.num_frames, sample_seed=seed, position=request.position)
            info.setdefault('static', False)
            path = path_of(info)
            with isolated_rng(seed):
                outcome = self._read(source, info, path)
                if not isinstance(outcome, Failure):
                    sample = self._finish(source, outcome)
                    break
            failures.append(outcome)
        else:
            raise RuntimeError(self._nothing_readable(source, failures))
        times = outcome.get('frame_times')
        sample['data_samples'].set_metainfo(
            dict(
                position=request.position,
                sample_seed=seed,
                source=source.name,
                path=path,
                seconds=None if times is None else (float(times[0]), float(times[-1])),
                replaced=[tuple(failure) for failure in failures],
            )
        )
        return sample

    def current_files(self) -> dict[int, str]:
        """Return the file each process is reading, by process id; a dead worker keeps its last."""
        return {pid: path for pid, (path, _) in self._breadcrumbs.read().items()}

    def overdue_files(self, limit: float | None = None) -> dict[int, tuple[str, float]]:
        """Return path and seconds of the files that processes read for longer than a limit.

        Args:
            limit: Seconds. None: far beyond ``timeout``.
        """
        limit = 2 * self.timeout + 30 if limit is None else limit
        found = self._breadcrumbs.read().items()
        return {pid: (path, seconds) for pid, (path, seconds) in found if seconds > limit}

    def _candidates(self, request: ClipRequest) -> Iterator[tuple[int, int]]:
        """Yield (index, seed): the item asked for, then distinct others in an order keyed by it."""
        yield request.index, request.seed
        length = len(self.sources[request.source].dataset)
        key, others = make_key(request.seed), 0
        for place in range(length):
            if others == self.max_refetch:
                return
            index = int(permute(place, length, key)[0])
            if index != request.index:
                others += 1
                yield index, derive_seed(request.seed, others)

    def _read(self, source: Source, info: dict[str, Any], path: str) -> dict[str, Any] | Failure:
        """Run the source's pipeline on a data info; say so if it fails."""
        self._breadcrumbs.note(path)
        info['deadline'] = time.monotonic() + self.timeout
        try:
            with interruptible():
                results = source.dataset.pipeline(info)
        except MemoryError:
            raise
        # Decoders raise whatever they like (decord alone has three kinds), and one file must not
        # end a run.
        except Exception as error:
            return Failure(path, one_line(error))
        finally:
            self._breadcrumbs.note('')
        return Failure(path, 'the pipeline returned None') if results is None else results

    def _finish(self, source: Source, results: dict[str, Any]) -> dict[str, Any]:
        """Run the common pipeline."""
        sample = self.pipeline(results)
        if sample is None or 'data_samples' not in sample:
            raise ValueError(
                f'the pipelines of source {source.name!r} end without `data_samples`: finish '
                "them, or the mixture's own pipeline, with mmaction.PackActionInputs"
            )
        return sample

    def _nothing_readable(self, source: Source, failures: Sequence[Failure]) -> str:
        shown = '\n'.join(f'  {failure.path}: {failure.reason}' for failure in failures[:3])
        return (
            f'source {source.name!r} of the mixture: none of {len(failures)} samples could be read '
            f'(it has {len(source.dataset)}, max_refetch={self.max_refetch}). The first:\n{shown}\n'
            'Check the source with tools/scan_dataset.py.'
        )


class _Nothing(BaseDataset):
    """Stands for the dataset of a source that is switched off, whose data need not be there."""

    def load_data_list(self) -> list[dict]:
        """No entry."""
        return []


def _build_source(place: int, config: dict[str, Any]) -> Source:
    """Check the keys of a source and build its dataset."""
    name = config.pop('name', f'number {place}')
    where = f'source {name!r} of the mixture'
    missing = {'weight', 'dataset'} - set(config)
    unknown = set(config) - {'weight', 'dataset', 'check_files'}
    if missing or unknown:
        raise ValueError(
            f'{where}: missing keys {sorted(missing)}, unknown keys {sorted(unknown)}; '
            'a source has name, weight, dataset and optionally check_files'
        )
    if config['weight'] == 0:
        return Source(name, config['weight'], _Nothing(serialize_data=False))
    dataset = config['dataset']
    if isinstance(dataset, Mapping):
        dataset = _build_dataset(where, dataset)
    if not isinstance(dataset, BaseDataset):
        raise TypeError(
            f'{where}: dataset must be the config of an MMEngine BaseDataset, found '
            f'{type(dataset).__name__}'
        )
    if config.get('check_files', False):
        entries = (dataset.get_data_info(index) for index in range(len(dataset)))
        check_files(entries, dataset.ann_file)
    return Source(name, config['weight'], dataset)


def _build_dataset(where: str, config: Mapping[str, Any]) -> BaseDataset:
    """Build a source's dataset; what is wrong with its data or list is said in full."""
    require_data_of(where, config)
    if explained := misread_line(config):
        raise ValueError(f'{where}: {explained}')
    try:
        dataset = DATASETS.build(config)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{where}: {error}') from error
    return dataset


class Breadcrumbs:
    """One short note per worker in memory that all processes share.

    A worker that is killed (out of memory, a crash inside a decoder) cannot say what it was doing;
    the main process reads its last note instead. Writing a note costs a few microseconds.

    Args:
        slots: Most workers told apart; further ones share slots.
        width: Bytes per slot; longer paths lose their beginning.
    """

    def __init__(self, slots: int = 128, width: int = 1024) -> None:
        self._rows = torch.zeros(slots, width, dtype=torch.uint8).share_memory_()

    def note(self, path: str) -> None:
        """Note that this process begins to read ``path``; '' when it is done."""
        worker = get_worker_info()
        # The last slot belongs to the main process.
        number = len(self._rows) - 1 if worker is None else worker.id % (len(self._rows) - 1)
        row = self._rows[number].numpy()
        text = os.fsencode(path)[-(len(row) - _HEADER.itemsize) :]
        start = _HEADER.itemsize
        row[start : start + len(text)] = np.frombuffer(text, dtype=np.uint8)
        row[:start].view(_HEADER)[0] = (os.getpid(), len(text), time.time())

    def read(self) -> dict[int, tuple[str, float]]:
        """Return the file that each process reads, or read when it died, and the seconds since."""
        notes = {}
        for row in self._rows.numpy():
            pid, length, begin = row[: _HEADER.itemsize].view(_HEADER)[0].tolist()
            if length:
                start = _HEADER.itemsize
                path = os.fsdecode(row[start : start + length].tobytes())
                notes[pid] = path, time.time() - begin
        return notes
