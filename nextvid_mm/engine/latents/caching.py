"""Writes the targets of all training clips to a cache."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config

from nextvid_mm.data_checks import path_of
from nextvid_mm.datasets import LatentCacheWriter
from nextvid_mm.datasets.cached_mixture import check_common, entry_name, split_flip
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.latents.target_pass import Batch, TargetPass, frames_of
from nextvid_mm.progress import progress_bar

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16}


@dataclass(frozen=True)
class CachingReport:
    """What a pass did.

    Attributes:
        written: new entries; a flipped clip is one more.
        kept: entries that were there before.
        unreadable: files no clip could be read from.
    """

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
    rows = [i for i, info in enumerate(infos) if not info['replaced']]
    added = 0
    for flipped in (False, True):
        chosen = [i for i in rows if not flipped or flipping[infos[i]['source']]]
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
