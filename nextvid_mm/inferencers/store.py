"""Features of many files on disk, sharded and with an index; interrupted runs go on.

The layout is that of ``nextvid_mm.datasets.shards``: per file an entry ``features|PATH`` and an
entry ``timestamps|PATH``; the notes of the index hold the patch grid and, by file, the reason why
it could not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from nextvid_mm.datasets.progress import progress_bar
from nextvid_mm.datasets.shards import ShardReader, ShardWriter

from .features import FeatureInferencer, MediaFeatures
from .media import UnreadableMediaError

STORED_TYPES = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}
FEATURES, TIMES = 'features|', 'timestamps|'


class FeatureWriter(ShardWriter):
    """Adds features to a folder; see ``ShardWriter``."""

    what, tool = 'folder of features', 'tools/extract_features.py'


class FeatureStore(ShardReader):
    """Features by path, read as they are asked for; see ``ShardReader``.

    ``settings`` says what the features depend on.
    """

    what, tool = FeatureWriter.what, FeatureWriter.tool

    @property
    def failed(self) -> dict[str, str]:
        """Reason by file that could not be read."""
        return self.notes['failed']

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[str]:
        names = (name for name in self._shard_of if name.startswith(FEATURES))
        return (name.removeprefix(FEATURES) for name in names)

    def __contains__(self, path: object) -> bool:
        return f'{FEATURES}{path}' in self._shard_of

    def __getitem__(self, path: str) -> MediaFeatures:
        """Features of a file, as they were extracted, in the stored type.

        Raises:
            KeyError: if there are none; says why.
        """
        if path not in self:
            reason = self.failed.get(path, 'it was not among the inputs')
            raise KeyError(f'{self.folder} has no features of {path}: {reason}')
        height, width = self.notes['grid']
        features, times = self.read(FEATURES + path), self.read(TIMES + path)
        return MediaFeatures(path, features, times, (height, width))


def write_features(
    inferencer: FeatureInferencer,
    paths: Sequence[str],
    folder: str | Path,
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
        folder: may hold a part of the same work.
        kind: ``token``, ``frame`` or ``pooled``.
        stored_type: ``float32``, ``float16`` or ``bfloat16``.
        shard_megabytes: size of a shard; what an interruption may cost.

    Raises:
        ValueError: if the folder holds features of other settings.
    """
    if stored_type not in STORED_TYPES:
        raise ValueError(f'stored_type={stored_type!r} is not one of {list(STORED_TYPES)}')
    settings = dict(inferencer.settings, kind=kind, stored_type=stored_type)
    writer = FeatureWriter(folder, settings, shard_bytes=shard_megabytes * 2**20)
    failed = writer.notes.setdefault('failed', {})
    writer.notes['grid'] = list(inferencer.grid)
    todo = [path for path in paths if FEATURES + path not in writer]
    with writer, progress_bar('files') as bar:
        for path in bar.track(todo, description='features'):
            try:
                item = inferencer.extract(path, kind)
            except UnreadableMediaError as error:
                failed[path] = str(error).removeprefix(f'{path}: ')
                continue
            failed.pop(path, None)
            stored = item.features.to(STORED_TYPES[stored_type])
            writer.add_together({FEATURES + path: stored, TIMES + path: item.timestamps})
    return FeatureStore(folder)
