"""Write a demo data set to disk: cached, resumable, in MMAction2's formats.

Layout under the root (annotation lines are ``file.mp4 label``, relative to the videos' folder)::

    videos_train/00000_move_left.mp4 ...     videos_val/00000_move_left.mp4 ...
    images_train/astronaut/00000.jpg ...     ImageNet's folder format
    demo_train_list_videos.txt               all training clips
    demo_probe_list_videos.txt               a labelled subset of them, a few per class
    demo_val_list_videos.txt                 all validation clips
    label_map.txt                            class names, one per line, in the order of the labels
    demo_spec.json                           the spec; its `complete` is true once all is there
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import cv2
import numpy as np

from nextvid_mm.files import replace_when_complete
from nextvid_mm.datasets.progress import progress_bar

from nextvid_mm.demo.data.cache import clip_name, is_complete, prepare, write_stamp
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.render import render_clip, render_image
from nextvid_mm.demo.data.spec import SPLITS, DemoSpec
from nextvid_mm.datasets.video_writer import encode_h264

__all__ = ['make_demo_data']

_BATCH = 32  # files per unit of work: a progress step about every half second and worker
_JPEG_QUALITY = 95

#: A unit of work: the spec and pairs of a path and what it holds (split or 'images', number).
_Job = tuple[DemoSpec, list[tuple[Path, tuple[str, int]]]]


def make_demo_data(
    root: str | os.PathLike, spec: DemoSpec | None = None, workers: int = 2, quiet: bool = False
) -> Path:
    """Make sure that ``root`` holds the data set of ``spec``.

    A complete data set of the same spec is kept as it is; an interrupted one is continued; one
    that differs in the number of files grows or shrinks; one of other content is replaced.

    Args:
        root: Folder of the data set; created if missing.
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
        for written in _run(jobs, workers):
            progress.advance(task, written)
    _write_lists(root, spec)
    write_stamp(root, spec, complete=True)
    return root


def _run(jobs: list[_Job], workers: int) -> Iterator[int]:
    """Do the jobs in any order; yield the number of files of each one done."""
    if workers == 0:
        yield from map(_write_files, jobs)
        return
    # Spawned, not forked: a parent that has used torch or OpenCV holds threads and locks.
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, context, cv2.setNumThreads, (1,)) as pool:
        try:
            for future in as_completed([pool.submit(_write_files, job) for job in jobs]):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_files(job: _Job) -> int:
    spec, files = job
    for path, (kind, index) in files:
        # A file gets its name only when it is whole: an interruption leaves no truncated clip.
        with replace_when_complete(path, durable=False) as partial:
            if kind == 'images':
                _write_jpeg(partial, render_image(spec, index)[0])
            else:
                encode_h264(partial, render_clip(spec, kind, index)[0], spec.fps)
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
        (root / f'demo_{name}_list_videos.txt').write_text(''.join(lines))
    (root / 'label_map.txt').write_text(''.join(f'{motion.name}\n' for motion in MOTIONS))
