"""Named tensors on disk: sharded safetensors files with an index in JSON.

.. code-block:: text

    folder/index.json                   settings, notes, and for every shard the entries in it
    folder/shard-00000.safetensors      the entries

An index is replaced only after the shard it speaks of is complete, so that a run that was killed
continues after its last shard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from nextvid_mm.checks import check_count
from nextvid_mm.files import TEMPORARY_SUFFIX, replace_when_complete, write_text

INDEX = 'index.json'
FORMAT = 1
Writer = TypeVar('Writer', bound='ShardWriter')


class _Shards:
    """What a folder of shards is called in messages, and the tool that writes it."""

    what, tool = 'folder of shards', ''

    def read_index(self, folder: str | Path) -> dict[str, Any]:
        """Read the index of a folder.

        Raises:
            FileNotFoundError: if there is none.
            ValueError: if it is of another format.
        """
        file = Path(folder, INDEX)
        if not file.is_file():
            raise FileNotFoundError(
                f'{folder} is no {self.what} (no {INDEX}): {self.tool} makes one'
            )
        index = json.loads(file.read_text(encoding='utf-8'))
        if index.get('format') != FORMAT:
            raise ValueError(f'{file} has format {index.get("format")!r}, expected {FORMAT}')
        return index


class ShardWriter(_Shards):
    """Adds entries to a folder, as a context manager; an existing one is continued.

    Args:
        folder: where the shards lie; created if missing.
        settings: what the entries depend on, plain JSON values.
        shard_size: entries from which a shard is written.
        shard_bytes: size from which it is.

    Raises:
        ValueError: if the folder holds entries of other settings.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: Mapping[str, Any],
        shard_size: int = 1024,
        shard_bytes: float = float('inf'),
    ) -> None:
        check_count(shard_size, 'shard_size')
        self.folder, self.shard_size, self.shard_bytes = Path(folder), shard_size, shard_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        for left_by_a_kill in self.folder.glob(f'*{TEMPORARY_SUFFIX}'):
            left_by_a_kill.unlink()
        self._index: dict[str, Any] = dict(
            format=FORMAT, settings=dict(settings), notes={}, shards={}
        )
        self._pending: dict[str, Tensor] = {}
        if (self.folder / INDEX).is_file():
            self._index = self.read_index(self.folder)
            require_same(self.what, self.folder, self._index['settings'], settings)
        self._done = {name for names in self._index['shards'].values() for name in names}

    def __contains__(self, name: str) -> bool:
        return name in self._done or name in self._pending

    def __len__(self) -> int:
        return len(self._done) + len(self._pending)

    @property
    def notes(self) -> dict[str, Any]:
        """Plain JSON values kept in the index beside the entries, to be changed in place."""
        return self._index.setdefault('notes', {})

    def add(self, name: str, tensor: Tensor) -> None:
        """Add an entry; it is on disk once its shard is full or the writer is left."""
        self.add_together({name: tensor})

    def add_together(self, tensors: Mapping[str, Tensor]) -> None:
        """Add entries of which none is of use without the others: they share a shard."""
        for name, tensor in tensors.items():
            self._pending[name] = tensor.detach().cpu().contiguous().clone()
        size = sum(tensor.nbytes for tensor in self._pending.values())
        if len(self._pending) >= self.shard_size or size >= self.shard_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is pending, as a shard of its own."""
        if not self._pending:
            return
        shard = f'shard-{len(self._index["shards"]):05d}.safetensors'
        with replace_when_complete(self.folder / shard) as temporary:
            save_file(self._pending, temporary)
        self._index['shards'][shard] = list(self._pending)
        self._write_index()
        self._done |= self._pending.keys()
        self._pending = {}

    def __enter__(self: Writer) -> Writer:
        if not (self.folder / INDEX).is_file():
            self._write_index()
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        self._write_index()

    def _write_index(self) -> None:
        write_text(self.folder / INDEX, json.dumps(self._index, indent=1) + '\n')


class ShardReader(_Shards):
    """Reads entries; files are opened when first needed, in every process anew.

    Args:
        folder: where the shards lie.

    Raises:
        FileNotFoundError: if there are none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        index = self.read_index(self.folder)
        self.settings: dict[str, Any] = index['settings']
        self.notes: dict[str, Any] = index.get('notes', {})
        self._shard_of = {name: shard for shard, names in index['shards'].items() for name in names}
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._shard_of)

    def read(self, name: str) -> Tensor:
        """An entry.

        Raises:
            LookupError: if there is no such entry.
        """
        if name not in self._shard_of:
            raise LookupError(
                f'the {self.what} {self.folder} has no entry {name!r}: start {self.tool} again, '
                'it adds what is missing'
            )
        shard = self._shard_of[name]
        if shard not in self._open:
            self._open[shard] = safe_open(str(self.folder / shard), framework='pt')
        return self._open[shard].get_tensor(name)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | dict(_open={})


def require_same(
    what: str, folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    """Raise unless two sets of settings are the same.

    Raises:
        ValueError: with every setting that differs.
    """
    different = [key for key in {**stored, **wanted} if stored.get(key) != wanted.get(key)]
    if different:
        pairs = '\n'.join(f'  {k}: {stored.get(k)!r} -> {wanted.get(k)!r}' for k in different)
        raise ValueError(
            f'{folder} holds a {what} of other settings (stored -> now):\n{pairs}\n'
            'Use another folder, or delete this one.'
        )
