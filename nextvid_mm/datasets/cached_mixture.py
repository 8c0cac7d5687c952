"""A mixture whose clips are fixed, so that their targets can be read from a cache."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nextvid_mm.data_checks import path_of
from nextvid_mm.datasets.mixture import MixtureDataset, Source
from nextvid_mm.datasets.shards import ShardReader, ShardWriter
from nextvid_mm.registry import DATASETS

# Transforms that always do the same to the same file, in whatever scope (mmaction., ...).
FIXED = (
    'CenterCrop',
    'DecordDecode',
    'DecordInit',
    'FormatShape',
    'ImageToClip',
    'LoadImageFromFile',
    'LoadPicture',
    'OpenVideo',
    'PyAVDecode',
    'PyAVInit',
    'ReadFrames',
    'RepeatFrames',
    'Resize',
    'ResizeEdge',
    'SampleClipByTime',
    'VideoDecode',
    'VideoInit',
)
# What may follow a flip: nothing that looks at columns.
AFTER_FLIP = ('FormatShape', 'RepeatFrames')
# The mixture's own transforms: none of them changes a pixel.
COMMON = ('FormatShape', 'FrameIsolatedMasking', 'PackActionInputs', 'TubeMasking')
# Keys that change how fast a file is read, not what is read.
_SPEED_KEYS = ('cache_dir', 'max_clip_megabytes', 'num_threads', 'timeout')


def entry_name(source: str, path: str, num_frames: int, flipped: bool) -> str:
    """Name of the target of a clip.

    Args:
        source: name of the mixture's source.
        path: file the clip comes from, as the source names it.
        num_frames: video frames of the clip.
        flipped: whether the clip is mirrored left to right.
    """
    return f'{source}|{num_frames}|{"flipped" if flipped else "plain"}|{path}'


class LatentCacheWriter(ShardWriter):
    """Adds targets to a cache; see ``ShardWriter``."""

    what, tool = 'latent cache', 'tools/cache_latents.py'


class LatentCache(ShardReader):
    """Reads a cache of targets; see ``ShardReader``."""

    what, tool = 'latent cache', 'tools/cache_latents.py'


@DATASETS.register_module()
class CachedMixtureDataset(MixtureDataset):
    """A ``MixtureDataset`` that adds the cached target of every clip to its data sample.

    ``model.target_generator`` is then a ``CachedLatentTarget``. Targets are those of fixed clips:
    every file gives the same frames each time, at ``SampleClipByTime(test_mode=True)``, resized
    or cropped at the centre. Masks remain random. Of the random augmentations only the horizontal
    flip is permitted, as the last transform of a source that was cached with it (both ways round).

    Every data sample gets the field ``target``, ``(T-1, N, C)`` or ``(1, N, C)`` if static.

    Args:
        sources: as for ``MixtureDataset``; every dataset is a config with its pipeline.
        cache_dir: folder that ``tools/cache_latents.py`` has written.
        pipeline: transforms that follow each source's own.
        max_refetch: most samples tried in place of one that cannot be read.

    Raises:
        ValueError: if a pipeline would give other clips than the cached ones; names source and
            transform.
    """

    def __init__(
        self,
        sources: Sequence[Mapping[str, Any]],
        cache_dir: str,
        pipeline: Sequence[dict | Callable] | None = None,
        max_refetch: int = 100,
    ) -> None:
        self.cache = LatentCache(cache_dir)
        check_common(pipeline or [])
        for source in sources:
            _check_against(self.cache, source)
        super().__init__(sources, pipeline, max_refetch)

    def _finish(self, source: Source, results: dict[str, Any]) -> dict[str, Any]:
        """Run the common pipeline and add the target."""
        flipped = bool(results.get('flip', False))
        name = entry_name(source.name, path_of(results), results['num_frames'], flipped)
        sample = super()._finish(source, results)
        sample['data_samples'].set_field(self.cache.read(name), 'target')
        return sample


def split_flip(source: Mapping[str, Any]) -> tuple[list[dict[str, Any]], bool]:
    """A source's pipeline without its flip, in plain JSON values, and whether there was one.

    Raises:
        ValueError: if a transform is not permitted with cached targets.
    """
    if 'name' not in source:
        raise ValueError('cached targets need a `name` for every source of the mixture')
    where = f'source {source["name"]!r}'
    pipeline = json.loads(json.dumps(source['dataset']['pipeline']))
    fixed, flips = [], False
    for step in pipeline:
        kind = step['type'].rpartition('.')[2]
        if kind == 'Flip':
            _check_flip(where, step, flips)
            flips = True
            continue
        if kind not in FIXED or (flips and kind not in AFTER_FLIP):
            place = ' after the flip' if kind in FIXED else ''
            raise ValueError(
                f'{where}: {step["type"]}{place} is not permitted with cached targets, which are '
                f'those of fixed clips. Permitted: {", ".join(FIXED)}, and last a horizontal Flip'
            )
        if kind == 'SampleClipByTime' and not step.get('test_mode'):
            raise ValueError(
                f'{where}: SampleClipByTime draws clips at random, but cached targets are those '
                'of one clip per video: set test_mode=True'
            )
        fixed.append({key: value for key, value in step.items() if key not in _SPEED_KEYS})
    return fixed, flips


def check_common(pipeline: Sequence[Any]) -> None:
    """Raise unless the mixture's own transforms leave the pixels alone."""
    for step in pipeline:
        kind = step['type'].rpartition('.')[2]
        if kind not in COMMON:
            raise ValueError(
                f'the pipeline of the mixture: {step["type"]} is not permitted with cached '
                f'targets. Permitted: {", ".join(COMMON)}'
            )


def _check_flip(where: str, step: Mapping[str, Any], second: bool) -> None:
    if second or step.get('direction', 'horizontal') != 'horizontal':
        raise ValueError(
            f'{where}: cached targets permit one Flip with direction=horizontal, found {step}'
        )


def _check_against(cache: LatentCache, source: Mapping[str, Any]) -> None:
    """Raise unless the source's clips are those of the cache."""
    fixed, flips = split_flip(source)
    name = source['name']
    stored = cache.settings['sources'].get(name)
    if stored is None:
        known = ', '.join(cache.settings['sources'])
        raise ValueError(f'the cache {cache.folder} has no source {name!r}, only {known}')
    if stored['pipeline'] != fixed:
        raise ValueError(
            f'source {name!r}: its pipeline is not the one that was cached in {cache.folder}\n'
            f'  cached: {stored["pipeline"]}\n  config: {fixed}'
        )
    if flips and not stored['flips']:
        raise ValueError(
            f'source {name!r} flips clips, but {cache.folder} was cached without: cache again '
            'with mmaction.Flip in its pipeline, which keeps every clip both ways round'
        )
