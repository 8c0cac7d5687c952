"""Files that are either complete or not there."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

TEMPORARY_SUFFIX = '.tmp'
# Bytes in which the last line of a file that grows is looked for.
_LONGEST_LINE = 1 << 20
# Between the path of a tar file and the name of a file in it.
INSIDE = '::'


class ReadTimeoutError(TimeoutError):
    """A file took longer than its reader is allowed; no fault to be got over by another try."""


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address, such as ``s3://bucket/a.mp4``."""
    return '://' in str(path)


def shown(path: str | Path) -> str:
    """A path for messages and logs: of an address, without user, password and signature."""
    text = str(path)
    if not is_remote(text):
        return text
    parts = urlsplit(text)
    return urlunsplit((parts.scheme, parts.netloc.rpartition('@')[2], parts.path, '', ''))


def time_fragment(segment: tuple[float, float | None] | None) -> str:
    """What names a part of a video behind its path: ``#t=START,END`` in seconds; '' for all."""
    if segment is None:
        return ''
    start, end = segment
    return f'#t={start:.10g},{"" if end is None else format(end, ".10g")}'


@contextmanager
def replace_when_complete(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Give a name to write to; the file there takes its final name once the block is through.

    A kill, a crash or a full disk in the middle leaves what was under the final name as it was.
    Several processes may write the same file: each has a temporary file of its own, and the last
    one stays. Permissions are those of any new file, whoever writes it (safetensors hides its
    files from everybody else).

    Args:
        path: The file; missing folders are made.
        durable: Force its bytes to the disk before it is renamed, so that it survives a power cut.

    Yields:
        A path in the same folder that ends in :data:`TEMPORARY_SUFFIX`.

    Raises:
        OSError: If the file system refuses, for instance because it is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}')
    temporary.touch(exist_ok=False)
    permissions = temporary.stat().st_mode & 0o777
    try:
        yield temporary
        temporary.chmod(permissions)
        if durable:
            _force_to_disk(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        _force_to_disk(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8; see :func:`replace_when_complete`."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


def append_line(path: str | Path, line: str) -> None:
    """Add a line to a text file in UTF-8; one that a full disk or a kill has cut is taken out."""
    with open(path, 'a+b') as file:
        begin = max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE)
        file.seek(begin)
        tail = file.read()
        if not tail.endswith(b'\n'):
            file.truncate(begin + tail.rfind(b'\n') + 1)
        file.write(line.encode() + b'\n')


def save_picture(picture: Any, path: str | Path, **options: Any) -> None:
    """Save a PIL image or a matplotlib figure; see :func:`replace_when_complete`.

    Args:
        picture: what is saved.
        path: its ending says the format.
        **options: of PIL's ``save`` or matplotlib's ``savefig``.
    """
    save = picture.savefig if hasattr(picture, 'savefig') else picture.save
    with replace_when_complete(path) as temporary:
        save(temporary, format=Path(path).suffix.removeprefix('.'), **options)


class BlockCache:
    """Blocks of bytes in files, deleted by the time of their last use where they become too many.

    Processes may share a folder. Each looks at all of its files now and then, after it has written
    2 % of the limit: by so much for each of them, the folder may be larger.

    Args:
        folder: made if it is not there.
        limit: bytes.
    """

    _LOOKS, _KEPT = 50, 0.9  # for each limit that is written; what a look leaves of the limit

    def __init__(self, folder: str | Path, limit: int) -> None:
        self.folder, self.limit = Path(folder), limit
        self._unseen = limit  # bytes written since the last look; the first block looks

    def _file(self, name: str) -> Path:
        digest = blake2b(name.encode(), digest_size=16).hexdigest()
        return self.folder / digest[:2] / f'{digest}.block'

    def get(self, name: str, size: int) -> bytes | None:
        """The block of a name; None if there is none of so many bytes."""
        file = self._file(name)
        try:
            data = file.read_bytes()
            os.utime(file)
        except ReadTimeoutError:  # from a signal
            raise
        except OSError:
            return None
        return data if len(data) == size else None

    def put(self, name: str, data: bytes) -> None:
        """Keep a block; on a full disk, nothing is kept."""
        try:
            with replace_when_complete(self._file(name), durable=False) as temporary:
                temporary.write_bytes(data)
            self._unseen += len(data)
            if self._unseen * self._LOOKS >= self.limit:
                self._unseen = 0
                self._tidy()
        except ReadTimeoutError:
            raise
        except OSError:
            return

    def _tidy(self) -> None:
        found = []
        for folder in filter(Path.is_dir, self.folder.iterdir()):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.endswith('.block'):
                        with suppress(FileNotFoundError):  # another process tidies, too
                            status = entry.stat()
                            found.append((status.st_mtime, status.st_size, entry.path))
        total = sum(size for _, size, _ in found)
        if total <= self.limit:
            return
        for _, size, path in sorted(found):
            Path(path).unlink(missing_ok=True)
            total -= size
            if total <= self._KEPT * self.limit:
                return


def _force_to_disk(path: Path) -> None:
    """Flush a file, or what a folder says of its files."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
