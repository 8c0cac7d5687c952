"""Files wherever they lie: on a disk, in a tar file, or behind any address that fsspec knows.

Only what is needed is read: a file is fetched in blocks, those that its reader asks for. Requests
that fail are made again until a time is up. Addresses are shown without what gives access.
"""

from __future__ import annotations

import io
import os
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nextvid_mm.files import BlockCache, ReadTimeoutError, is_remote, shown

# Blocks of one file kept in memory.
_KEPT_BLOCKS = 64
# Answers of servers kept in memory: more than the tar files of a data set, less than its videos.
_KEPT_INFOS = 4096


class StorageError(OSError):
    """A file could not be fetched, or is no longer the one that was opened."""


class Storage:
    """How remote files are fetched; what a transform's ``storage`` key holds.

    Credentials are found by the libraries themselves, in the environment or their own files.

    Args:
        patience: seconds in which a request that fails is made again.
        block_kilobytes: what one request fetches.
        cache_dir: folder of blocks kept on a local disk, shared by all processes; None: none.
        cache_gigabytes: its size; the blocks not read for longest are deleted. See ``BlockCache``.
        options: of fsspec's file system, such as ``endpoint_url`` or ``anon`` of ``s3fs``.

    Raises:
        ValueError: for a value out of range, or an option that holds a credential.
    """

    def __init__(
        self,
        patience: float = 30.0,
        block_kilobytes: int = 256,
        cache_dir: str | None = None,
        cache_gigabytes: float = 50.0,
        **options: Any,
    ) -> None:
        numbers = dict(patience=patience, block_kilobytes=block_kilobytes)
        for name, value in (numbers | dict(cache_gigabytes=cache_gigabytes)).items():
            if not value > 0:
                raise ValueError(f'storage.{name}={value!r} must be larger than 0')
        if secret := {'key', 'secret', 'token', 'username', 'password'} & set(options):
            raise ValueError(
                f'storage has {", ".join(sorted(secret))}: a config is written into logs and '
                'checkpoints. Credentials belong into the environment or the file of the library '
                '(AWS_ACCESS_KEY_ID, ~/.aws/credentials)'
            )
        self.patience, self.block = patience, block_kilobytes << 10
        self.cache = (
            None if cache_dir is None else BlockCache(cache_dir, int(cache_gigabytes * 2**30))
        )
        self.options = options
        # What servers say of files that are opened again and again, such as tar files.
        self.infos: OrderedDict[str, dict[str, Any]] = OrderedDict()

    def open(
        self,
        path: str | Path,
        part: tuple[int, int] | None = None,
        deadline: float | None = None,
    ) -> RangeFile:
        """Open a file, or bytes of one, for reading.

        Args:
            path: on a disk, or an address.
            part: first byte and number of bytes; None for all.
            deadline: ``time.monotonic()`` at which to give up.

        Raises:
            FileNotFoundError, PermissionError: by name.
            StorageError: if it cannot be fetched, or has fewer bytes than ``part``.
        """
        source: _Local | _Remote
        source = _Remote(str(path), self, deadline) if is_remote(path) else _Local(path)
        begin, size = part or (0, source.size)
        source.bounds = (begin, begin + size)
        if begin < 0 or begin + size > source.size:
            raise StorageError(
                f'{source.name} has {source.size} bytes, not the {size} from {begin} on that its '
                'index tells'
            )
        return RangeFile(source, begin, size)


class RangeFile(io.RawIOBase):
    """Some bytes of a file as a file.

    Attributes:
        name: for messages, without credentials.
        size: bytes.
        version: what tells the file from one that takes its place; '' if nothing does.
    """

    def __init__(self, source: _Local | _Remote, begin: int, size: int) -> None:
        self.name, self.size, self.version = source.name, size, source.version
        self._source, self._begin, self._place = source, begin, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to another byte."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f'{self.name}: there is no byte {start + offset}')
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read some bytes, at least one before the end."""
        if self.closed:
            raise ValueError(f'{self.name} is closed')
        wanted = max(0, min(len(buffer), self.size - self._place))
        data = self._source.read_at(self._begin + self._place, wanted) if wanted else b''
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def drop(self, count: int) -> None:
        """Leave out the first bytes from now on."""
        self._begin, self.size, self._place = self._begin + count, self.size - count, 0

    def close(self) -> None:
        """Let go of the file."""
        if not self.closed:
            self._source.close()
        super().close()


class _Local:
    """A file on a disk."""

    def __init__(self, path: str | Path) -> None:
        self.name = str(path)
        self._file = open(path, 'rb')  # noqa: SIM115 (closed by its owner)
        self.bounds = (0, 0)
        status = os.fstat(self._file.fileno())
        self.size = status.st_size
        self.version = f'{status.st_size}|{status.st_mtime_ns}'

    def read_at(self, place: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, place)

    def close(self) -> None:
        self._file.close()


class _Remote:
    """A file behind an address, fetched block by block, from the first byte of interest."""

    def __init__(self, address: str, storage: Storage, deadline: float | None) -> None:
        from fsspec.core import url_to_fs

        self.name, self._address, self._storage = shown(address), address, storage
        self._deadline = deadline
        self._system, self._key = url_to_fs(address, **storage.options)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        info = storage.infos.pop(address, None)
        if info is None:
            info = self._patiently(lambda: self._run('info', self._key))
        storage.infos[address] = info  # as the last: the first is the one not used for longest
        if len(storage.infos) > _KEPT_INFOS:
            storage.infos.popitem(last=False)
        if info.get('size') is None or info.get('type') == 'directory':
            raise StorageError(f'{self.name}: the server tells no size of it, parts cannot be read')
        self.size = int(info['size'])
        self.bounds = (0, self.size)
        self._etag = info.get('ETag')
        stamps = [info.get(name) for name in ('ETag', 'LastModified', 'mtime')]
        self.version = f'{self.name}|{[*stamps, self.size]}' if any(stamps) else ''

    def read_at(self, place: int, count: int) -> bytes:
        number, inside = divmod(place - self.bounds[0], self._storage.block)
        return self._block(number)[inside : inside + count]

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        # What nothing tells from another version is better fetched again.
        cache, size = self._storage.cache if self.version else None, self._storage.block
        first = self.bounds[0] + number * size
        last = min(first + size, self.bounds[1])
        name = f'{self.version}|{first}|{last}'
        data = cache.get(name, last - first) if cache else None
        if data is None:
            data = self._patiently(lambda: self._fetch(first, last))
            if cache:
                cache.put(name, data)
        self._blocks[number] = data
        if len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return data

    def _fetch(self, first: int, last: int) -> bytes:
        """Bytes of the very file that was opened, as long as the server knows which that is."""
        protocol, options = self._system.protocol, {}
        if self._etag and 's3' in protocol:
            return self._run(_s3_range, self._system, self._key, first, last, self._etag)
        if self._etag and 'http' in protocol:
            own = self._storage.options.get('headers') or {}  # replaced by those of a request
            options['headers'] = {**own, 'If-Match': self._etag}
        data = self._run('cat_file', self._key, start=first, end=last, **options)
        if len(data) != last - first:
            raise OSError(f'{len(data)} bytes came instead of {last - first}')
        return data

    def _run(self, function: str | Callable, *arguments: Any, **options: Any) -> Any:
        """Call a method of the file system, or a coroutine: bounded, where it can be left."""
        from fsspec.asyn import sync

        if isinstance(function, str):
            if not hasattr(self._system, f'_{function}'):
                return getattr(self._system, function)(*arguments, **options)
            function = getattr(self._system, f'_{function}')
        left = max(0.1, self._give_up - time.monotonic())
        return sync(self._system.loop, function, *arguments, timeout=left, **options)

    def _patiently(self, request: Callable[[], Any]) -> Any:
        """Make a request until it succeeds, cannot, or the time is up."""
        begin, wait = time.monotonic(), 0.1
        self._give_up = begin + self._storage.patience
        if self._deadline is not None:
            self._give_up = min(self._give_up, self._deadline)
        while True:
            try:
                return request()
            except ReadTimeoutError:  # a signal: nobody waits for the answer any more
                raise
            except Exception as error:  # each library has its own kinds
                error = _true_cause(error)
                status = _status(error)
                if isinstance(error, FileNotFoundError) or status == 404:
                    raise FileNotFoundError(f'{self.name} does not exist') from None
                closed = isinstance(error, PermissionError) or status in (401, 403)
                if closed or 'Credentials' in type(error).__name__:
                    words = self._words(error)
                    raise PermissionError(f'{self.name} may not be read: {words}') from None
                if type(error).__name__ == 'FileExpired' or status == 412:
                    self._storage.infos.pop(self._address, None)
                    raise StorageError(f'{self.name} was replaced while it was read') from None
                if time.monotonic() + wait >= self._give_up:
                    seconds = time.monotonic() - begin
                    raise StorageError(
                        f'{self.name}: not fetched in {seconds:.0f} s: {self._words(error)}'
                    ) from None
            time.sleep(wait)
            wait = min(2 * wait, 5.0)

    def _words(self, error: Exception) -> str:
        """What an error says, without the address and what it may hold."""
        text = str(error).replace(self._address, self.name)
        text = re.sub(r'\?[^\s\'")]*', '', text)
        text = re.sub(r'//[^/\s@]*@', '//', text)
        return f'{type(error).__name__} {text}'.strip().splitlines()[0][:200]

    def close(self) -> None:
        self._blocks.clear()


def _status(error: Exception) -> int | None:
    """HTTP status that a library's error is about."""
    for found in (error, error.__cause__):
        response = getattr(found, 'response', None)
        if isinstance(response, Mapping):  # botocore's
            return response.get('ResponseMetadata', {}).get('HTTPStatusCode')
        if (status := getattr(found, 'status', None)) is not None:
            return status
    return None


def _true_cause(error: Exception) -> Exception:
    """What went wrong: fsspec says of any HTTP request that failed that there is no such file."""
    cause = error.__cause__
    return cause if isinstance(error, FileNotFoundError) and isinstance(cause, Exception) else error


async def _s3_range(system: Any, key: str, first: int, last: int, etag: str) -> bytes:
    bucket, name, _ = system.split_path(key)
    answer = await system._call_s3(
        'get_object', Bucket=bucket, Key=name, Range=f'bytes={first}-{last - 1}', IfMatch=etag
    )
    data = await answer['Body'].read()
    if len(data) != last - first:
        raise OSError(f'{len(data)} bytes came instead of {last - first}')
    return data
