"""What a demo data folder should hold, what it does hold, and making room for the difference."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from nextvid_mm.files import write_text
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.photographs import PHOTOGRAPHS
from nextvid_mm.demo.data.spec import SPLITS, DemoSpec

__all__ = ['STAMP', 'clip_name', 'is_complete', 'planned_files', 'prepare', 'write_stamp']

#: File that says what the folder holds and whether all of it has been written.
STAMP = 'demo_spec.json'

_FOLDERS = ('videos_train', 'videos_val', 'images_train')


def clip_name(index: int) -> str:
    """File name of a clip: its number and, for the human eye, its class."""
    return f'{index:05d}_{MOTIONS[index % len(MOTIONS)].name}.mp4'


def planned_files(root: Path, spec: DemoSpec) -> dict[Path, tuple[str, int]]:
    """Every video and image of the data set: path to (split or 'images', number)."""
    photographs = sorted(Path(name).stem for name in PHOTOGRAPHS['train'])
    files = {
        root / f'videos_{split}' / clip_name(index): (split, index)
        for split in SPLITS
        for index in range(spec.num_clips(split))
    }
    for index in range(spec.num_images):
        folder = photographs[index % len(photographs)]
        files[root / 'images_train' / folder / f'{index:05d}.jpg'] = ('images', index)
    return files


def is_complete(root: str | os.PathLike, spec: DemoSpec) -> bool:
    """Whether ``root`` holds the whole data set of ``spec``."""
    root = Path(root)
    # The stamp outlives files that somebody deletes by hand: compare the folders too.
    complete = _read_stamp(root) == _stamp(spec, complete=True)
    return complete and _present_files(root) == set(planned_files(root, spec))


def prepare(root: Path, spec: DemoSpec) -> dict[Path, tuple[str, int]]:
    """Create the folder, remove what does not belong to the spec, and return what is missing.

    Args:
        root: Folder of the data set.
        spec: What it shall hold.

    Returns:
        The files to write, as in ``planned_files``; their folders exist.

    Raises:
        FileExistsError: If ``root`` holds files but no stamp: they are not ours to replace.
        OSError: If ``root`` cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        stamp = _read_stamp(root)
        if stamp is None and any(root.iterdir()):
            raise FileExistsError(
                f'{root} is not empty and has no {STAMP}, so its files are not generated demo '
                f'data: choose another root, or empty the folder yourself'
            )
        planned = planned_files(root, spec)
        if stamp is not None:
            _remove_foreign(root, planned, keep_planned=stamp.get('digest') == spec.digest())
        # Only now, when no file of other content is left, may the stamp say whose files these are.
        write_stamp(root, spec, complete=False)
        for folder in {path.parent for path in planned}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise type(error)(
            f'cannot write the demo data to {root} ({error.strerror}): choose a root folder that '
            f'you may write to'
        ) from error
    return {path: item for path, item in planned.items() if not path.exists()}


def write_stamp(root: Path, spec: DemoSpec, complete: bool) -> None:
    """Record what ``root`` holds. The file is never seen half written."""
    write_text(root / STAMP, json.dumps(_stamp(spec, complete), indent=2) + '\n')


def _stamp(spec: DemoSpec, complete: bool) -> dict:
    return asdict(spec) | {'digest': spec.digest(), 'complete': complete}


def _read_stamp(root: Path) -> dict | None:
    """The stamp; None without one; an empty dict for an unreadable one (ours, but worthless)."""
    try:
        stamp = json.loads((root / STAMP).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _present_files(root: Path) -> set[Path]:
    return {path for folder in _FOLDERS for path in (root / folder).rglob('*') if not path.is_dir()}


def _remove_foreign(root: Path, planned: dict[Path, tuple[str, int]], keep_planned: bool) -> None:
    """Remove files of another spec from our folders, and nothing outside them."""
    if keep_planned:
        for path in _present_files(root) - set(planned):
            path.unlink()
        return
    for folder in _FOLDERS:
        if (root / folder).exists():
            shutil.rmtree(root / folder)
