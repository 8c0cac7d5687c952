"""Reading files of weights, ours or published: the one place; nothing in a file is run.

A file is looked at before it is read: what it is, and whether it holds as much as it claims. So a
damaged or hostile file ends in one line that names it, and takes no more memory than its size.
"""

from __future__ import annotations

import argparse
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .config_data import json_object

# Files with the weights in a folder as published by diffusers, transformers and timm, or their
# index, if they are cut into several.
FOLDER_FILES = tuple(
    f'{name}{index}'
    for name in (
        'diffusion_pytorch_model.safetensors',
        'model.safetensors',
        'diffusion_pytorch_model.bin',
        'pytorch_model.bin',
    )
    for index in ('', '.index.json')
)
INDEX = '.index.json'
SHARDED = '.dcp'  # a folder, see sharded.py
# How other files begin, what they are, and what to do.
OTHER_KINDS = (
    (b'version https://git-lfs', 'a Git LFS pointer, not the weights it stands for', 'git lfs pull '
     'in its repository fetches them'),
    (b'<', 'a page of HTML or XML, not the file itself', 'download it again: the address may need '
     'a login or lead to a page about the file'),
    (b'\x1f\x8b', 'a gzip archive', 'unpack it first'),
    (b'\x28\xb5\x2f\xfd', 'a zstd archive', 'unpack it first'),
    (b'\x89HDF', 'an HDF5 file (Keras)', 'PyTorch weights are needed'),
    (b'\x93NUMPY', 'a NumPy array', 'PyTorch weights are needed'),
    (b'GGUF', 'a GGUF file', 'PyTorch weights are needed'),
    (b'\x08', 'an ONNX or protobuf file', 'PyTorch weights are needed'),
)  # fmt: skip
AGAIN = 'download or copy it again'
_INDEX_BYTES = 8 * 2**20


def read_file(path: str | Path, key: str = '', advice: str = '') -> dict[str, Any]:
    """Read weights, and what lies beside them, on the CPU; tensors stay in the file until used.

    Args:
        path: a ``.safetensors`` file, a file of ``torch.save``, an index of several, a folder
            as published by diffusers, transformers or timm, or one of a sharded checkpoint.
        key: the config key that names the path, for messages.
        advice: what to do if nothing is there, for messages.

    Raises:
        FileNotFoundError: if it is missing, or a folder without weights, or an index names a file
            that is not there.
        ValueError: if it is neither kind of file, is damaged, holds no dictionary, or more than
            tensors and plain values.
    """
    file = find_file(path, key, advice)
    if file.suffix == SHARDED and file.is_dir():
        from .sharded import read_sharded  # which reads its own files through this one

        return read_sharded(file)
    if file.name.endswith(INDEX):
        return _read_shards(file)
    try:
        kind = _kind(file)
        if kind == 'safetensors':
            with _opened(file) as opened:
                content = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        else:
            content = _read_torch(file, kind)
        if not isinstance(content, dict):
            raise ValueError(f'{file} holds a {type(content).__name__}, expected a dictionary')
        _check_claims(content, file)
    except (ValueError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # a parser may fail in any way on bytes that somebody made up
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f'{file} is damaged ({reason}): {AGAIN}') from error
    return content


def read_metadata(path: str | Path, key: str) -> dict[str, Any]:
    """The JSON under ``key`` in the header of a ``.safetensors`` file; empty without one.

    Raises:
        ValueError: if it is no JSON object.
    """
    file = find_file(path)
    _kind(file)  # says what a file is that is none
    with _opened(file) as opened:
        text = (opened.metadata() or {}).get(key, '{}')
    return json_object(text, f'{path}: its metadata {key!r}')


def find_file(path: str | Path, key: str = '', advice: str = '') -> Path:
    """The file with the weights, the index of several, or the folder of a sharded checkpoint.

    Arguments and errors of ``read_file``.
    """
    path = Path(path)
    if path.suffix == SHARDED and path.is_dir():
        return path
    candidates = [path / name for name in FOLDER_FILES] if path.is_dir() else [path]
    for file in candidates:
        if file.is_file():
            return file
    name = f'{key}={str(path)!r}' if key else str(path)
    if path.is_dir():
        wanted = ', '.join(name for name in FOLDER_FILES if not name.endswith(INDEX))
        name += f': there is no such checkpoint (no {wanted} in it, nor an index of one)'
    else:
        name += ': there is no such checkpoint'
    raise FileNotFoundError(name + (f'; {advice}' if advice else ''))


def _kind(file: Path) -> str:
    """``safetensors``, ``zip`` or ``pickle`` (``torch.save`` before 1.6), by its first bytes.

    Raises:
        ValueError: if it is something else; says what.
    """
    size = file.stat().st_size
    if not size:
        raise ValueError(f'{file} is empty (0 bytes): {AGAIN}')
    with open(file, 'rb') as stream:
        start = stream.read(64)
    if start[:4] == b'PK\x03\x04':
        return 'zip'
    if file.suffix == '.safetensors' or start[8:9] == b'{':
        kind, fix = _other_kind(start)
        if kind:
            raise ValueError(f'{file} is {kind}: {fix}')
        return 'safetensors'
    if start[:1] == b'\x80':
        return 'pickle'
    kind, fix = _other_kind(start)
    raise ValueError(
        f'{file} is {kind or "no file of weights (neither torch.save nor safetensors)"}: '
        f'{fix or AGAIN}'
    )


def _other_kind(start: bytes) -> tuple[str, str]:
    stripped = start.lstrip(b'\xef\xbb\xbf \r\n\t')
    for begin, kind, fix in OTHER_KINDS:
        if stripped.startswith(begin) and (begin != b'\x08' or start[8:9] != b'{'):
            return kind, fix
    return '', ''


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A ``.safetensors`` file; its header is compared with the file's size first."""
    size = file.stat().st_size
    with open(file, 'rb') as stream:
        (length,) = struct.unpack('<Q', stream.read(8).ljust(8, b'\xff'))
    if length > size - 8 or length > _longest_list(size):
        raise ValueError(
            f'{file} is damaged: its header claims {length:,} bytes, the file has {size:,}: {AGAIN}'
        )
    try:
        with safe_open(file, framework='pt') as opened:
            yield opened
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        cut = 'cut off or ' if 'ncomplete' in reason or 'InvalidHeader' in reason else ''
        raise ValueError(f'{file} is {cut}damaged ({reason}): {AGAIN}') from error


def _longest_list(size: int) -> int:
    """Bytes that the list of tensors in a file may have: in memory, it takes ten times as many.

    That of published files has some hundred kB.
    """
    return max(2**22, size // 20)


def _read_torch(file: Path, kind: str) -> Any:
    """What ``torch.save`` wrote, if it is tensors and plain values."""
    if kind == 'zip':
        _check_archive(file)
    elif _plain_pickle(file):
        name = _first_class(file)
        raise ValueError(
            f'{file} is a pickle{f" with an object of {name}" if name else ""}, but none of '
            'torch.save, and is not run here; save the weights with '
            'torch.save(model.state_dict(), FILE) and use that file'
        )
    try:
        # The training scripts of VideoMAE and timm store their arguments beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of pickles that are refused anyway
            return torch.load(file, map_location='cpu', weights_only=True, mmap=kind == 'zip')
    except Exception as error:
        if found := re.search(r'GLOBAL ([\w.]+)', str(error)):
            raise ValueError(
                f'{file} holds an object of {found[1]}, a class of another project, which is not '
                'run here; save its weights alone (torch.save(model.state_dict(), FILE)) where '
                'that project is installed, and use that file'
            ) from error
        raise


def _check_archive(file: Path) -> None:
    """Raise unless the parts of a zip file are as large as they claim: ``torch.save`` packs none.

    Raises:
        ValueError: if it is cut off, or a part is compressed or larger than the file.
    """
    size = file.stat().st_size
    try:
        with open(file, 'rb') as stream:
            end = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
        if end and end[zipfile._ECD_SIZE] > _longest_list(size):  # type: ignore[attr-defined]
            raise ValueError(f'its list of parts is too long for {size:,} bytes')
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except Exception as error:
        raise ValueError(f'{file} is cut off or damaged ({error}): {AGAIN}') from error
    claimed = sum(part.file_size for part in parts)
    if claimed > size:
        raise ValueError(
            f'{file} is damaged: its parts claim {claimed:,} bytes, the file has {size:,}: {AGAIN}'
        )
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError(f'{file} is a zip archive, but none of torch.save: unpack it first')


def _plain_pickle(file: Path) -> bool:
    """Whether a file does not begin with the number by which ``torch.load`` knows its own."""
    with open(file, 'rb') as stream:
        return b'\x8a\nl\xfc\x9cF\xf9 j\xa8P' not in stream.read(32)


def _first_class(file: Path) -> str:
    """The first class or function that a pickle names, which is not run; '' if there is none."""
    words: list[str] = []
    with open(file, 'rb') as stream, suppress(Exception):  # whatever is wrong with it
        for code, word, _ in pickletools.genops(stream):
            if code.name == 'GLOBAL':
                words = str(word).split()
            if code.name in ('GLOBAL', 'STACK_GLOBAL'):
                return '.'.join(words[-2:])[:80]
            if isinstance(word, str):
                words.append(word[:40])
    return ''


def _check_claims(content: Mapping[str, Any], file: Path) -> None:
    """Raise if a tensor claims more values than the file holds, or is not of plain memory.

    Raises:
        ValueError: with the tensor's name.
    """
    size = file.stat().st_size
    seen: dict[int, int] = {}
    for name, value in _tensors(content):
        if value.layout != torch.strided or value.device.type != 'cpu':
            raise ValueError(f'{file}: {name} is a {value.layout} tensor on {value.device.type}')
        storage = value.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        if value.numel() * value.element_size() > storage.nbytes():
            raise ValueError(
                f'{file} is damaged: {name} claims {value.numel():,} values, but the file holds '
                f'{storage.nbytes():,} bytes of it: {AGAIN}'
            )
    if sum(seen.values()) > size:
        raise ValueError(
            f'{file} is damaged: its tensors claim {sum(seen.values()):,} bytes, the file has '
            f'{size:,}: {AGAIN}'
        )


def _tensors(content: Any, name: str = '') -> Iterator[tuple[str, Tensor]]:
    """Every tensor of nested dictionaries and lists, with its place."""
    stack, seen = [(name, content)], set()
    while stack:
        place, entry = stack.pop()
        if isinstance(entry, Tensor):
            yield place or 'a tensor', entry
        elif isinstance(entry, dict | list | tuple) and id(entry) not in seen:
            seen.add(id(entry))
            pairs = entry.items() if isinstance(entry, dict) else enumerate(entry)
            stack += [(f'{place}.{key}'.lstrip('.'), value) for key, value in pairs]


def _read_shards(index: Path) -> dict[str, Any]:
    """All tensors of the files that an index names.

    Raises:
        FileNotFoundError: if one of them is not there.
        ValueError: if the index is damaged, leaves its folder, or files do not hold what it says.
    """
    if index.stat().st_size > _INDEX_BYTES:
        raise ValueError(f'{index} has {index.stat().st_size:,} bytes, too many for an index')
    places = json_object(index.read_bytes(), str(index)).get('weight_map')
    if not isinstance(places, dict) or not all(isinstance(n, str) for n in places.values()):
        raise ValueError(f'{index} is no index of weights: it has no weight_map from name to file')
    state: dict[str, Any] = {}
    for name in sorted(set(places.values())):
        shard = _inside(index, name)
        if name.endswith(INDEX):
            raise ValueError(f'{index} names {name}, an index, as a file of weights')
        if not shard.is_file():
            raise FileNotFoundError(f'{index} names {name}, which is not in its folder: {AGAIN}')
        state |= read_file(shard)
    if missing := [name for name in places if name not in state]:
        raise ValueError(
            f'{index} is damaged: {places[missing[0]]} does not hold {missing[0]} '
            f'({len(missing)} missing): {AGAIN}'
        )
    return state


def _inside(index: Path, name: str) -> Path:
    """The file ``name`` beside an index; the Hub's cache links to its own ``blobs``.

    Raises:
        ValueError: if the name, or a link, leads out of the folder.
    """
    shard, folder = index.parent / name, index.parent.resolve()
    allowed = (folder, folder.parent.parent / 'blobs')
    if Path(name).name != name or '\0' in name or shard.resolve().parent not in allowed:
        raise ValueError(f'{index} names {name!r}, which leads out of its folder; it is not opened')
    return shard
