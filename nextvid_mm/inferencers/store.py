"""Features of many files on disk: shards of safetensors and an index; interrupted runs go on.

A folder holds ``features-00000.safetensors`` and so on, with tensors ``K.features`` and
``K.timestamps`` for entry number K, and ``index.json``: the settings, and shard, number, shape and
patches of every file, and the reason for every file that could not be read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nextvid_mm.interop.files import replace_when_complete

from .features import FeatureInferencer, MediaFeatures
from .media import UnreadableMediaError

INDEX = 'index.json'
STORED_TYPES = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}


@dataclass
class FeatureStore:
    """A folder of features, to read from.

    Attributes:
        root: the folder.
        settings: what the features depend on.
        files: entry of every file: ``shard``, ``number``, ``shape``, ``grid``.
        failed: reason by file that could not be read.
    """

    root: Path
    settings: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str | Path) -> FeatureStore:
        """Read the index of a folder.

        Raises:
            FileNotFoundError: if there is none.
        """
        index = Path(root, INDEX)
        if not index.is_file():
            raise FileNotFoundError(
                f'{root} holds no features: there is no {INDEX}; tools/extract_features.py writes '
                'such folders'
            )
        return cls(Path(root), **json.loads(index.read_text(encoding='utf-8')))

    def __len__(self) -> int:
        return len(self.files)

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __getitem__(self, path: str) -> MediaFeatures:
        """Features of a file, as they were extracted, in the stored type."""
        if path not in self.files:
            reason = self.failed.get(path, 'it was not among the inputs')
            raise KeyError(f'{self.root} has no features of {path}: {reason}')
        entry = self.files[path]
        with safe_open(self.root / entry['shard'], framework='pt') as shard:
            features = shard.get_tensor(f'{entry["number"]}.features')
            timestamps = shard.get_tensor(f'{entry["number"]}.timestamps')
        return MediaFeatures(path, features, timestamps, tuple(entry['grid']))

    def save_index(self) -> None:
        """Write the index; readers never see half of it."""
        content = dict(settings=self.settings, files=self.files, failed=self.failed)
        with replace_when_complete(self.root / INDEX) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')


class ShardWriter:
    """Collects features and writes them a shard at a time, then the index.

    Args:
        store: the folder to add to.
        shard_bytes: size from which a shard is written.
        dtype: stored type of features.
    """

    def __init__(self, store: FeatureStore, shard_bytes: int, dtype: torch.dtype):
        self.store, self.shard_bytes, self.dtype = store, shard_bytes, dtype
        self.pending: dict[str, MediaFeatures] = {}
        self.bytes = 0

    def add(self, item: MediaFeatures) -> None:
        """Take the features of a file; write a shard if there is enough for one."""
        self.pending[item.path] = item
        self.bytes += item.features.numel() * self.dtype.itemsize
        if self.bytes >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is pending. A shard without its entry in the index is written again."""
        if self.pending:
            shards = {entry['shard'] for entry in self.store.files.values()}
            shard = f'features-{len(shards):05d}.safetensors'
            tensors: dict[str, Tensor] = {}
            entries = {}
            for number, (path, item) in enumerate(self.pending.items(), len(self.store)):
                tensors[f'{number}.features'] = item.features.to(self.dtype).contiguous()
                tensors[f'{number}.timestamps'] = item.timestamps
                shape, grid = list(item.features.shape), list(item.grid)
                entries[path] = dict(shard=shard, number=number, shape=shape, grid=grid)
            with replace_when_complete(self.store.root / shard) as temporary:
                save_file(tensors, temporary)
            self.store.files.update(entries)
            self.pending, self.bytes = {}, 0
        self.store.save_index()


def write_features(
    inferencer: FeatureInferencer,
    paths: Sequence[str],
    root: str | Path,
    kind: str = 'frame',
    stored_type: str = 'float32',
    shard_megabytes: float = 256,
) -> FeatureStore:
    """Extract features of files into a folder, with a progress bar.

    Files that are in the folder already are not read again; those that failed are tried again. A
    file that cannot be decoded is noted with its reason and skipped.

    Args:
        inferencer: makes the features.
        paths: the files.
        root: the folder; it may hold a part of the same work.
        kind: ``token``, ``frame`` or ``pooled``.
        stored_type: ``float32``, ``float16`` or ``bfloat16``.
        shard_megabytes: size of a shard; what an interruption may cost.

    Raises:
        ValueError: if the folder holds features of other settings.
    """
    if stored_type not in STORED_TYPES:
        raise ValueError(f'stored_type={stored_type!r} is not one of {list(STORED_TYPES)}')
    settings = dict(inferencer.settings, kind=kind, stored_type=stored_type)
    store = _continue(Path(root), settings)
    writer = ShardWriter(store, int(shard_megabytes * 2**20), STORED_TYPES[stored_type])
    todo = [path for path in paths if path not in store.files]
    try:
        with _progress() as bar:
            for path in bar.track(todo, description='features'):
                try:
                    writer.add(inferencer.extract(path, kind))
                    store.failed.pop(path, None)
                except UnreadableMediaError as error:
                    store.failed[path] = str(error).removeprefix(f'{path}: ')
    finally:
        writer.flush()
    return store


def _continue(root: Path, settings: dict[str, Any]) -> FeatureStore:
    """The store in a folder, or a new one."""
    if not (root / INDEX).is_file():
        root.mkdir(parents=True, exist_ok=True)
        return FeatureStore(root, settings)
    store = FeatureStore.open(root)
    different = [key for key in settings if store.settings.get(key) != settings[key]]
    if different:
        lines = [
            f'{key}: {store.settings.get(key)} there, {settings[key]} now' for key in different
        ]
        raise ValueError(
            f'{root} holds features of other settings; choose another folder\n  '
            + '\n  '.join(lines)
        )
    return store


def _progress() -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn('left'),
        TimeRemainingColumn(),
    )
