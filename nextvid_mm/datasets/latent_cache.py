"""Targets of fixed clips on disk: entries ``(T-1, N, C)``, or ``(1, N, C)`` if static."""

from __future__ import annotations

from .shards import ShardReader, ShardWriter


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
