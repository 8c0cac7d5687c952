"""Checkpoint files that are either complete or not there."""

import re
import zipfile
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from nextvid_mm.files import replace_when_complete


@register_backend('atomic')
class AtomicLocalBackend(LocalBackend):
    """Local files that appear under their name only once all their bytes are on the disk.

    A kill, a crash or a full disk in the middle of writing leaves the previous file as it was.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write ``obj`` to a temporary neighbour, force it to the disk, then rename it.

        Raises:
            OSError: If the file system refuses, for instance because it is full.
        """
        with replace_when_complete(filepath) as temporary:
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text in the same way."""
        self.put(obj.encode(encoding), filepath)


def damage(path: str | Path) -> str | None:
    """Say what is wrong with a checkpoint file, or return None if every byte is as it was written.

    The file is read once and its checksums are compared; ``torch.load`` by itself notices a
    truncated file but not a flipped bit. Files in the format before torch 1.6 carry no checksum and
    pass.
    """
    path = Path(path)
    if not path.is_file():
        return 'there is no such file'
    with open(path, 'rb') as file:
        start = file.read(4)
    if start[:2] != b'PK':
        return None if start[:1] == b'\x80' else 'it is not a checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        return f'it is truncated or overwritten ({error})'
    return None if broken is None else f'the checksum of its part {broken} is wrong'


def list_checkpoints(directory: str | Path, filename_tmpl: str) -> list[Path]:
    """Checkpoints named after ``filename_tmpl`` (``iter_{}.pth``), the one written last first."""
    before, after = map(re.escape, filename_tmpl.split('{}'))
    pattern = re.compile(rf'{before}\d+{after}')
    found = [path for path in Path(directory).glob('*') if pattern.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def newest_good(directory: str | Path, filename_tmpl: str) -> tuple[Path | None, list[str]]:
    """Find the checkpoint to resume from.

    The file named in ``last_checkpoint`` comes first, then the others from newest to oldest.

    Returns:
        The first undamaged file (None if there is none), and a line for each damaged one.
    """
    candidates = list_checkpoints(directory, filename_tmpl)
    note = Path(directory) / 'last_checkpoint'
    if note.is_file():
        last = Path(directory) / Path(note.read_text().strip()).name
        candidates = [last] + [path for path in candidates if path != last]
    damaged: list[str] = []
    for path in candidates:
        fault = damage(path)
        if fault is None:
            return path, damaged
        damaged.append(f'{path}: {fault}')
    return None, damaged
