"""Targets computed once for many runs: their statistics, and a cache of them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nextvid_mm.checks import check_count
from nextvid_mm.data_checks import path_of
from nextvid_mm.datasets import ClipSampler, LatentCacheWriter, collate_clips
from nextvid_mm.datasets.cached_mixture import check_common, entry_name, split_flip
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.processes import GuardedLoader
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.algorithms import preprocessor_config
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import DATASETS, MODELS, SCOPE

# Masks are drawn anew in training: here they would only cost time.
_NOT_NEEDED = ('FrameIsolatedMasking', 'TubeMasking')


class Batch(NamedTuple):
    """Clips ``(B, 3, T_video, height, width)`` in [-1, 1], and what comes with them."""

    clip: Tensor
    batch: ClipBatch


class TargetPass:
    """The parts of a config that targets come from.

    Args:
        cfg: a pretraining config with a mixture and a target generator.
        device: where the target generator runs.
        keep_flips: leave ``Flip`` in the sources' pipelines.
        overrides: replace keys of ``model.target_generator``.

    Raises:
        ValueError: if the config lacks one of the parts.
        FileNotFoundError: if data or weights are missing.
    """

    def __init__(
        self,
        cfg: Config,
        device: str = 'cpu',
        keep_flips: bool = True,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        self.device = torch.device(device)
        settings = cfg.model.get('target_generator')
        dataset = cfg.train_dataloader.dataset
        if settings is None or dataset.type.rpartition('.')[2] != 'MixtureDataset':
            raise ValueError(
                'targets need model.target_generator and train_dataloader.dataset.type='
                f'MixtureDataset, found {settings} and {dataset.type}'
            )
        with DefaultScope.overwrite_default_scope(SCOPE):
            self.target: nn.Module = MODELS.build(dict(settings, **overrides or {}))
            self.target.init_weights()  # before data are looked at: its file may be damaged
            self.dataset = DATASETS.build(_without_masks(dataset, keep_flips))
            self.preprocessor = MODELS.build(preprocessor_config(cfg.model.data_preprocessor))
        self.target.eval().to(self.device)
        self.preprocessor.to(self.device)
        self.workers = int(cfg.train_dataloader.get('num_workers', 0))

    def batches(self, requests: Sequence[ClipRequest], batch_size: int) -> Iterator[Batch]:
        """Load clips in the order asked for; those of a batch need the same number of frames."""
        groups = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
        loader: DataLoader = DataLoader(
            self.dataset,
            batch_sampler=groups,
            num_workers=min(self.workers, len(groups)),
            collate_fn=collate_clips,
        )
        for batch in GuardedLoader(loader):
            data = self.preprocessor(batch, training=False)
            yield Batch(data['inputs'].flatten(0, 1), data['data_samples'])


def frames_of(cfg: Config) -> list[int]:
    """The numbers of video frames that a config trains with, each once."""
    return sorted({stage.num_frames for stage in StageTable(cfg.train_cfg.stages)})


def _without_masks(dataset: Any, keep_flips: bool) -> Any:
    """A mixture's config with only what targets depend on."""
    dataset = copy.deepcopy(dataset)
    steps = dataset.get('pipeline') or []
    dataset['pipeline'] = [step for step in steps if _kind(step) not in _NOT_NEEDED]
    if not keep_flips:
        for source in dataset['sources']:
            inner = source['dataset']
            inner['pipeline'] = [step for step in inner['pipeline'] if _kind(step) != 'Flip']
    return dataset


def _kind(step: Any) -> str:
    return step['type'].rpartition('.')[2]


@torch.no_grad()
def compute_statistics(
    cfg: Config,
    num_clips: int,
    batch_size: int = 8,
    seed: int = 0,
    device: str = 'cpu',
    quiet: bool = False,
) -> tuple[Tensor, Tensor]:
    """Statistics of the raw targets of the first clips of a run, as training would draw them.

    Args:
        cfg: a pretraining config; its target generator must have latent channels.
        num_clips: clips to look at, drawn from the mixture by its weights.
        batch_size: clips per pass.
        seed: of the clips' order and augmentation.
        device: where the target generator runs.
        quiet: show no progress bar.

    Returns:
        Mean and standard deviation, each ``(C,)`` in float32.

    Raises:
        ValueError: if ``num_clips`` is not positive, or the targets have no statistics per channel.
    """
    check_count(num_clips, 'clips')
    check_count(batch_size, 'batch_size')
    kind = cfg.model.target_generator.type
    if kind in ('PixelTarget', 'CachedLatentTarget'):
        raise ValueError(f'{kind} takes no file of statistics: there is nothing to compute')
    run = TargetPass(cfg, device, overrides=dict(statistics=None, mean=0.0, std=1.0))
    sampler = ClipSampler(run.dataset, seed)
    requests = sampler.requests(np.arange(num_clips), frames_of(cfg)[0])
    channels = run.target.latent_channels
    count = 0
    total, squares = (torch.zeros(channels, dtype=torch.float64) for _ in range(2))
    with progress_bar('clips', quiet) as bar:
        task = bar.add_task('statistics', total=num_clips)
        for batch in run.batches(requests, batch_size):
            raw = run.target(*batch).unflatten(-1, (-1, channels)).flatten(0, -2)
            raw = raw.cpu().double()
            count += len(raw)
            total += raw.sum(0)
            squares += raw.square().sum(0)
            bar.advance(task, len(batch.clip))
    mean = total / count
    # Double precision: the difference of squares keeps far more digits than float32 has.
    variance = (squares / count - mean.square()).clamp_min(0)
    return mean.float(), variance.sqrt().float()


DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


class CachingReport(NamedTuple):
    """What a pass did: new entries (a flipped clip is one more), old ones, files without a clip."""

    written: int
    kept: int
    unreadable: list[str]


@torch.no_grad()
def cache_latents(
    cfg: Config,
    folder: str | Path,
    dtype: str = 'bfloat16',
    num_frames: Sequence[int] | None = None,
    batch_size: int = 8,
    shard_size: int = 1024,
    device: str = 'cpu',
    quiet: bool = False,
) -> CachingReport:
    """Encode every clip of every source once, and flipped too where the source flips.

    What the cache already holds is not computed again, so a pass that was interrupted continues.

    Args:
        cfg: a pretraining config whose pipelines give fixed clips, see ``CachedMixtureDataset``.
        folder: where the cache lies.
        dtype: ``float32`` or ``bfloat16``, which halves the space.
        num_frames: video frames per clip; None: all that the stage table has.
        batch_size: clips per pass.
        shard_size: entries per file.
        device: where the target generator runs.
        quiet: show no progress bar.

    Raises:
        ValueError: if a pipeline is not permitted, or the folder holds another cache.
    """
    if dtype not in DTYPES:
        raise ValueError(f'dtype={dtype!r} is not one of {", ".join(DTYPES)}')
    sources = cfg.train_dataloader.dataset.sources
    check_common(cfg.train_dataloader.dataset.get('pipeline') or [])
    flips = [split_flip(source)[1] for source in sources]
    run = TargetPass(cfg, device, keep_flips=False)
    written = 0
    unreadable: list[str] = []
    with LatentCacheWriter(folder, _settings(cfg, dtype), shard_size) as writer:
        kept = len(writer)
        for frames in num_frames or frames_of(cfg):
            requests = _missing(run, writer, flips, frames)
            with progress_bar('clips', quiet) as bar:
                task = bar.add_task(f'{frames} frames', total=len(requests))
                for batch in run.batches(requests, batch_size):
                    written += _write(run, writer, batch, frames, flips, DTYPES[dtype])
                    unreadable += [p for info in batch.batch.info for p, _ in info['replaced'][:1]]
                    bar.advance(task, len(batch.clip))
    return CachingReport(written, kept, sorted(set(unreadable)))


def _settings(cfg: Config, dtype: str) -> dict:
    """What the entries depend on, as plain JSON values."""
    sources = {}
    for source in cfg.train_dataloader.dataset.sources:
        pipeline, flips = split_flip(source)
        sources[source['name']] = dict(pipeline=pipeline, flips=flips)
    target = json.loads(json.dumps(cfg.model.target_generator))
    return dict(target=target, dtype=dtype, sources=sources)


def _missing(
    run: TargetPass, writer: LatentCacheWriter, flips: list[bool], frames: int
) -> list[ClipRequest]:
    """Requests for the clips whose targets are not in the cache, the same ones each time."""
    requests: list[ClipRequest] = []
    for number, source in enumerate(run.dataset.sources):
        for index in range(len(source.dataset)):
            path = path_of(source.dataset.get_data_info(index))
            ways = (False, True) if flips[number] else (False,)
            if any(entry_name(source.name, path, frames, way) not in writer for way in ways):
                requests.append(ClipRequest(len(requests), number, index, frames, seed=0))
    return requests


def _write(
    run: TargetPass,
    writer: LatentCacheWriter,
    batch: Batch,
    frames: int,
    flips: list[bool],
    dtype: torch.dtype,
) -> int:
    """Encode a batch and add what is new; return the number of entries."""
    flipping = dict(zip(run.dataset.names, flips, strict=True))
    infos = batch.batch.info
    added = 0
    for flipped in (False, True):
        chosen = [
            row
            for row, info in enumerate(infos)
            if not info['replaced'] and (not flipped or flipping[info['source']])
        ]
        if not chosen:
            continue
        clip = batch.clip[chosen].flip(-1) if flipped else batch.clip[chosen]
        part = batch.batch.take(chosen)
        for info, target in zip(part.info, run.target(clip, part), strict=True):
            name = entry_name(info['source'], info['path'], frames, flipped)
            if name not in writer:
                writer.add(name, (target[:1] if info.get('static') else target).to(dtype))
                added += 1
    return added
