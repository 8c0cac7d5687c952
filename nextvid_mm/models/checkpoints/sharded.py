"""Sharded checkpoints: a folder in which every process has written its part.

A folder ``iter_N.dcp`` holds what ``torch.distributed.checkpoint`` writes: all tensors of weights
and optimiser in files of the processes, and ``.metadata``, which says where each piece lies.
``run.pth`` beside them has everything else of the run. Nothing in it is run: of the pickle that
``.metadata`` is, only the classes that describe tensors are taken.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import FileSystemReader, Metadata, TensorStorageMetadata, load

from nextvid_mm.files import replace_when_complete

from .files import AGAIN, SHARDED, read_file

RUN = 'run.pth'
WEIGHTS, OPTIMIZER = 'state_dict.', 'optimizer.'
_METADATA = '.metadata'
_DESCRIPTIONS = {
    'torch.distributed.checkpoint.metadata': (
        *('Metadata', 'TensorStorageMetadata', 'TensorProperties', '_MEM_FORMAT_ENCODING'),
        *('ChunkStorageMetadata', 'MetadataIndex', 'StorageMeta'),
    ),
    'torch.distributed.checkpoint.filesystem': ('_StorageInfo',),
    'torch.serialization': ('_get_layout',),
    'pathlib': ('PosixPath', 'PurePosixPath'),
}


def is_sharded(path: str | Path) -> bool:
    """Whether a path is the folder of a sharded checkpoint, there or not."""
    return Path(path).suffix == SHARDED


class _Descriptions(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = name in _DESCRIPTIONS.get(module, ())
        if module == 'torch':
            allowed = name == 'Size' or isinstance(getattr(torch, name, None), torch.dtype)
        if not allowed:
            raise ValueError(f'it names {module}.{name}, which describes no tensor, and is not run')
        return super().find_class(module, name)


class TensorReader(FileSystemReader):
    """PyTorch's reader, which takes descriptions of tensors and nothing else."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Where every piece lies.

        Raises:
            ValueError: if it is damaged, or holds or names anything else.
        """
        file = Path(self.path) / _METADATA
        try:
            with open(file, 'rb') as stream:
                found = _Descriptions(stream).load()
            pieces = list(found.state_dict_metadata.values())
            places = [info.relative_path for info in found.storage_data.values()]
        except FileNotFoundError:
            raise
        except Exception as error:
            raise ValueError(f'{file} is damaged ({error}): {AGAIN}') from error
        if not all(isinstance(piece, TensorStorageMetadata) for piece in pieces):
            raise ValueError(f'{file} describes more than tensors, which is not read')
        if any(Path(place).name != place for place in places):
            raise ValueError(f'{file} leads out of its folder; it is not opened')
        size = sum(part.stat().st_size for part in Path(self.path).glob('*.distcp'))
        claimed = sum(piece.size.numel() * piece.properties.dtype.itemsize for piece in pieces)
        if claimed > size:
            raise ValueError(
                f'{file} is damaged: its tensors claim {claimed:,} bytes, the files hold {size:,}'
            )
        found.storage_meta.load_id = self.load_id
        return found


def outline(path: str | Path) -> dict[str, Tensor]:
    """Every tensor of a sharded checkpoint by its name, without content."""
    pieces = TensorReader(path).read_metadata().state_dict_metadata
    return {
        name: torch.empty(piece.size, dtype=piece.properties.dtype, device='meta')
        for name, piece in pieces.items()
    }


def fill(path: str | Path, tensors: dict[str, Tensor]) -> None:
    """Read into tensors in place; of those that are sharded, this process's part.

    Args:
        path: the folder.
        tensors: by the names of :func:`outline`, or some of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that this is one process: each reads for itself
        load(tensors, storage_reader=TensorReader(path), no_dist=True)


def read_run(path: str | Path) -> dict[str, Any]:
    """Everything but tensors of weights and optimiser, as in a whole checkpoint.

    Raises:
        FileNotFoundError: if there is no such folder, or it is no complete checkpoint.
    """
    path = Path(path)
    if missing := [name for name in (_METADATA, RUN) if not (path / name).is_file()]:
        raise FileNotFoundError(f'{path}: there is no complete checkpoint (no {missing[0]} in it)')
    return read_file(path / RUN)


def read_sharded(path: str | Path) -> dict[str, Any]:
    """A sharded checkpoint as a whole one would be read, on the CPU."""
    checkpoint = read_run(path)
    tensors = {name: torch.empty_like(t, device='cpu') for name, t in outline(path).items()}
    fill(path, tensors)
    return checkpoint | assemble(tensors, checkpoint.get('optimizer'))


def read_parts(
    path: str | Path,
    weights: Mapping[str, Tensor],
    params: Sequence[Tensor],
    optimizer: dict[str, Any] | None,
) -> dict[str, Any] | None:
    """Read weights in place and the state of an optimiser, of what is sharded this process's part.

    Args:
        path: the folder.
        weights: of the model, by name; those that the folder has not stay.
        params: of the optimiser, in its order; its state is cut as they are. Without any, none is
            read.
        optimizer: what :func:`read_run` says of it.

    Returns:
        The optimiser's state, or None.
    """
    pieces = outline(path)
    tensors = {f'{WEIGHTS}{name}': value for name, value in weights.items()}
    for name, piece in pieces.items():
        if params and name.startswith(OPTIMIZER):
            like = params[int(name.split('.', 2)[1])]
            whole = piece.dim() == 0 or piece.shape != like.shape
            room = torch.empty_like(piece, device='cpu') if whole else torch.zeros_like(like)
            tensors[name] = room
    fill(path, {name: value for name, value in tensors.items() if name in pieces})
    return assemble(tensors, optimizer)['optimizer'] if params and optimizer is not None else None


def assemble(tensors: Mapping[str, Tensor], optimizer: dict[str, Any] | None) -> dict[str, Any]:
    """Weights and optimiser's state from their tensors; the inverse of :func:`take_apart`."""
    made: dict[str, Any] = dict(
        state_dict={
            name.removeprefix(WEIGHTS): t for name, t in tensors.items() if name.startswith(WEIGHTS)
        }
    )
    if optimizer is not None:
        state: dict[int, dict[str, Any]] = {
            index: dict(entry) for index, entry in optimizer.get('state', {}).items()
        }
        for name, value in tensors.items():
            if name.startswith(OPTIMIZER):
                _, index, key = name.split('.', 2)
                state.setdefault(int(index), {})[key] = value
        made['optimizer'] = dict(optimizer, state=dict(sorted(state.items())))
    return made


def take_apart(
    weights: Mapping[str, Tensor], optimizer: Mapping[str, Any] | None
) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """All tensors of weights and of an optimiser's state by one name each, and the state's rest.

    Raises:
        ValueError: if weights have something else among them.
    """
    if others := [name for name, value in weights.items() if not isinstance(value, Tensor)]:
        raise ValueError(f'a sharded checkpoint holds tensors; {others[0]} of the model is none')
    tensors = {f'{WEIGHTS}{name}': value for name, value in weights.items()}
    if optimizer is None:
        return tensors, None
    rest: dict[int, dict[str, Any]] = {}
    for index, entry in optimizer['state'].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f'{OPTIMIZER}{index}.{key}'] = value
            else:
                rest.setdefault(index, {})[key] = value
    return tensors, dict(optimizer, state=rest)


def folder_damage(path: str | Path) -> str | None:
    """Say what is wrong with a sharded checkpoint, None if every byte is as it was written."""
    path = Path(path)
    try:
        read_run(path)
        with zipfile.ZipFile(path / RUN) as archive:
            broken = archive.testzip()
        if broken is not None:
            return f'the checksum of {RUN} is wrong'
        pieces = TensorReader(path).read_metadata().storage_data
        for index, info in pieces.items():
            with open(path / info.relative_path, 'rb') as file:
                file.seek(info.offset)
                with zipfile.ZipFile(io.BytesIO(file.read(info.length))) as archive:
                    if archive.testzip() is not None:
                        return f'the checksum of {index.fqn} is wrong'
    except Exception as error:  # a parser may fail in any way on damaged bytes
        return f'it is truncated or overwritten ({error})'
    return None


def make_whole(path: str | Path, output: str | Path) -> None:
    """Write a sharded checkpoint as one file, which resumes any run and goes into every tool."""
    if not is_sharded(path):
        raise ValueError(f'{path} is no sharded checkpoint (a folder iter_N{SHARDED})')
    checkpoint = read_sharded(path)
    with replace_when_complete(output) as temporary:
        torch.save(checkpoint, temporary)
