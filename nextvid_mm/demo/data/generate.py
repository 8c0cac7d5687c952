"""Write a demo dataset to disk: cached, resumable, in MMAction2's formats.

Layout under the root (annotation lines are ``file.mp4 label``, relative to the videos' folder)::

    videos_train/00000_move_left.mp4 ...     videos_val/00000_move_left.mp4 ...
    images_train/astronaut/00000.jpg ...     images_val/astronaut/00000.jpg ...
    demo_train_list_videos.txt               all training clips
    demo_probe_list_videos.txt               a labelled subset of them, a few per class
    demo_val_list_videos.txt                 all validation clips
    label_map.txt                            class names, one per line, in the order of the labels
    what/probe_list_images.txt ...           the same three of stills: which photograph is it?
    demo_spec.json                           the spec; its `complete` is true once all is there
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.render import PHOTOGRAPHS, render_clip, render_image
from nextvid_mm.demo.data.spec import SPLITS, DemoSpec
from nextvid_mm.files import replace_when_complete, write_text
from nextvid_mm.progress import progress_bar
from nextvid_mm.stopping import pool_of

#: File that says what the folder holds and whether all of it has been written.
STAMP = 'demo_spec.json'

#: What is written beside the files themselves.
LISTS = (
    *(f'demo_{name}_list_videos.txt' for name in ('train', 'probe', 'val')),
    *('label_map.txt', 'what/label_map.txt'),
    *('what/probe_list_images.txt', 'what/val_list_images.txt'),
)
_FOLDERS = ('videos_train', 'videos_val', 'images_train', 'images_val')
_BATCH = 32  # files per unit of work: a progress step about every half second and worker
_JPEG_QUALITY = 95

#: A unit of work: the spec and pairs of a path and what it holds (its folder, number).
_Job = tuple[DemoSpec, list[tuple[Path, tuple[str, int]]]]


def make_demo_data(
    root: str | os.PathLike, spec: DemoSpec | None = None, workers: int = 2, quiet: bool = False
) -> Path:
    """Make sure that ``root`` holds the dataset of ``spec``.

    A complete dataset of the same spec is kept as it is; an interrupted one is continued; one
    that differs in the number of files grows or shrinks; one of other content is replaced.

    Args:
        root: Folder of the dataset; created if missing.
        spec: What to generate. Default: ``DemoSpec()``.
        workers: Processes to render with; 0 renders in this process. With more, a script must
            guard its entry point by ``if __name__ == '__main__':``.
        quiet: Show no progress bar.

    Returns:
        ``root`` as a path.

    Raises:
        FileExistsError: If ``root`` holds files but no stamp of this generator: they are not ours
            to replace.
        ValueError: If ``workers`` is negative.
        OSError: If ``root`` cannot be written. What was written before stays, and the next call
            continues from there.
    """
    spec = spec or DemoSpec()
    if workers < 0:
        raise ValueError(f'workers must be 0 (this process only) or more, found {workers}')
    root = Path(root)
    if is_complete(root, spec):
        return root
    missing = list(prepare(root, spec).items())
    jobs = [(spec, missing[start : start + _BATCH]) for start in range(0, len(missing), _BATCH)]
    with progress_bar('files', quiet) as progress:
        task = progress.add_task('demo data', total=len(missing))
        for written in in_processes(_write_files, jobs, workers):
            progress.advance(task, written)
    _write_lists(root, spec)
    write_stamp(root, spec, complete=True)
    return root


def in_processes(write: Callable[[Any], int], jobs: Sequence[Any], workers: int) -> Iterator[int]:
    """Do the jobs in any order, in this process with 0 workers; yield what each one returns."""
    if workers == 0:
        yield from map(write, jobs)
        return
    # Spawned, not forked: a parent that has used torch or OpenCV holds threads and locks.
    with pool_of(workers, 'spawn', cv2.setNumThreads, 1) as pool:
        for future in as_completed([pool.submit(write, job) for job in jobs]):
            yield future.result()


def _write_files(job: _Job) -> int:
    spec, files = job
    for path, (folder, index) in files:
        kind, split = folder.split('_')
        # A file gets its name only when it is whole: an interruption leaves no truncated clip.
        with replace_when_complete(path, durable=False) as partial:
            if kind == 'images':
                _write_jpeg(partial, render_image(spec, index, split)[0])
            else:
                encode_video(partial, render_clip(spec, split, index)[0], spec.fps)
    return len(files)


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, content = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    path.write_bytes(content.tobytes())


def _write_lists(root: Path, spec: DemoSpec) -> None:
    clips = {
        split: [f'{clip_name(i)} {i % len(MOTIONS)}\n' for i in range(spec.num_clips(split))]
        for split in SPLITS
    }
    # Classes are dealt out in turn, so the first N rounds hold N clips of each.
    clips['probe'] = clips['train'][: spec.probe_clips_per_class * len(MOTIONS)]
    for name, lines in clips.items():
        write_text(root / f'demo_{name}_list_videos.txt', ''.join(lines))
    write_text(root / 'label_map.txt', ''.join(f'{motion.name}\n' for motion in MOTIONS))
    _write_still_lists(root / 'what', spec)


def _write_still_lists(folder: Path, spec: DemoSpec) -> None:
    """Lists of stills by photograph, in a folder with names of their own."""
    names = _photographs()
    val, probe = (
        [f'{still_name(i)} {i % len(names)}\n' for i in range(spec.num_stills(split))]
        for split in ('val', 'train')
    )
    write_text(folder / 'val_list_images.txt', ''.join(val))
    labelled = probe[: spec.probe_clips_per_class * len(names)]
    write_text(folder / 'probe_list_images.txt', ''.join(labelled))
    write_text(folder / 'label_map.txt', ''.join(f'{name}\n' for name in names))


def _photographs() -> list[str]:
    return sorted(Path(name).stem for name in PHOTOGRAPHS['train'])


def still_name(index: int) -> str:
    """File name of a still image, in the folder of its photograph."""
    names = _photographs()
    return f'{names[index % len(names)]}/{index:05d}.jpg'


def clip_name(index: int) -> str:
    """File name of a clip: its number and, for the human eye, its class."""
    return f'{index:05d}_{MOTIONS[index % len(MOTIONS)].name}.mp4'


def planned_files(root: Path, spec: DemoSpec) -> dict[Path, tuple[str, int]]:
    """Every video and image of the dataset: path to (folder, number)."""
    files = {}
    for split in SPLITS:
        for kind, name, count in (
            (f'videos_{split}', clip_name, spec.num_clips(split)),
            (f'images_{split}', still_name, spec.num_stills(split)),
        ):
            files.update({root / kind / name(index): (kind, index) for index in range(count)})
    return files


def is_complete(root: str | os.PathLike, spec: DemoSpec) -> bool:
    """Whether ``root`` holds the whole dataset of ``spec``."""
    root = Path(root)
    # The stamp outlives files that somebody deletes by hand: compare the folders too.
    complete = _read_stamp(root) == _stamp(spec, complete=True)
    listed = all((root / name).is_file() for name in LISTS)
    return complete and listed and _present_files(root) == set(planned_files(root, spec))


def prepare(root: Path, spec: DemoSpec) -> dict[Path, tuple[str, int]]:
    """Create the folder, remove what does not belong to the spec, and return what is missing.

    Args:
        root: Folder of the dataset.
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
