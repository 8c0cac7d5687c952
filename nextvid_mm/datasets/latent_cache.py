"""Targets of fixed clips on disk: sharded safetensors files with an index in JSON.

.. code-block:: text

    folder/index.json                   settings, and for every shard the entries in it
    folder/shard-00000.safetensors      entries as tensors, (T-1, N, C) or (1, N, C) if static

An index is replaced only after the shard it speaks of is complete, so that a run that was killed
continues after its last shard.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

INDEX = 'index.json'
FORMAT = 1


def entry_name(source: str, path: str, num_frames: int, flipped: bool) -> str:
    """Name of the target of a clip.

    Args:
        source: name of the mixture's source.
        path: file the clip comes from, as the source names it.
        num_frames: video frames of the clip.
        flipped: whether the clip is mirrored left to right.
    """
    return f'{source}|{num_frames}|{"flipped" if flipped else "plain"}|{path}'


class LatentCacheWriter:
    """Adds entries to a cache, as a context manager; an existing cache is continued.

    Args:
        folder: where the cache lies; created if missing.
        settings: what the entries depend on, plain JSON values.
        shard_size: entries per file.

    Raises:
        ValueError: if the folder holds a cache of other settings.
    """

    def __init__(
        self, folder: str | Path, settings: Mapping[str, Any], shard_size: int = 1024
    ) -> None:
        if shard_size < 1:
            raise ValueError(f'shard_size={shard_size} must be at least 1')
        self.folder, self.shard_size = Path(folder), shard_size
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index: dict[str, Any] = dict(format=FORMAT, settings=dict(settings), shards={})
        self._pending: dict[str, Tensor] = {}
        if (self.folder / INDEX).is_file():
            self._index = read_index(self.folder)
            _require_same(self.folder, self._index['settings'], settings)
        self._done = {name for names in self._index['shards'].values() for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._done or name in self._pending

    def __len__(self) -> int:
        return len(self._done) + len(self._pending)

    def add(self, name: str, target: Tensor) -> None:
        """Add an entry; it is on disk once its shard is full or the writer is left."""
        self._pending[name] = target.detach().cpu().contiguous().clone()
        if len(self._pending) >= self.shard_size:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, as a shard of its own."""
        if not self._pending:
            return
        shard = f'shard-{len(self._index["shards"]):05d}.safetensors'
        unfinished = self.folder / f'{shard}.unfinished'
        save_file(self._pending, unfinished)
        os.replace(unfinished, self.folder / shard)
        self._index['shards'][shard] = list(self._pending)
        self._write_index()
        self._done |= self._pending.keys()
        self._pending = {}

    def __enter__(self) -> LatentCacheWriter:
        if not (self.folder / INDEX).is_file():
            self._write_index()
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def _write_index(self) -> None:
        unfinished = self.folder / f'{INDEX}.unfinished'
        unfinished.write_text(json.dumps(self._index, indent=1) + '\n', encoding='utf-8')
        os.replace(unfinished, self.folder / INDEX)


class LatentCache:
    """Reads a cache; files are opened when first needed, in every process anew.

    Args:
        folder: where the cache lies.

    Raises:
        FileNotFoundError: if there is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.settings: dict[str, Any] = index['settings']
        self._shard_of = {name: shard for shard, names in index['shards'].items() for name in names}
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._shard_of)

    def read(self, name: str) -> Tensor:
        """The target ``(T-1, N, C)`` of an entry, or ``(1, N, C)`` of a static clip.

        Raises:
            LookupError: if there is no such entry.
        """
        if name not in self._shard_of:
            raise LookupError(
                f'the cache {self.folder} has no entry {name!r}: start tools/cache_latents.py '
                'again, it adds what is missing'
            )
        shard = self._shard_of[name]
        if shard not in self._open:
            self._open[shard] = safe_open(str(self.folder / shard), framework='pt')
        return self._open[shard].get_tensor(name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict(_open={})


def read_index(folder: str | Path) -> dict[str, Any]:
    """Read the index of a cache.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is of another format.
    """
    file = Path(folder, INDEX)
    if not file.is_file():
        raise FileNotFoundError(
            f'{folder} is no latent cache (no {INDEX}): tools/cache_latents.py makes one'
        )
    index = json.loads(file.read_text(encoding='utf-8'))
    if index.get('format') != FORMAT:
        raise ValueError(f'{file} has format {index.get("format")!r}, expected {FORMAT}')
    return index


def _require_same(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    different = [key for key in {**stored, **wanted} if stored.get(key) != wanted.get(key)]
    if different:
        pairs = '\n'.join(f'  {k}: {stored.get(k)!r} -> {wanted.get(k)!r}' for k in different)
        raise ValueError(
            f'{folder} holds a cache of other settings (stored -> now):\n{pairs}\n'
            'Use another folder, or delete this one.'
        )
