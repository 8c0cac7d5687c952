"""Opens videos and decodes clips of them, with a cache for small datasets."""

from __future__ import annotations

import os
import shutil
import struct
import time
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from numpy.typing import NDArray

from nextvid_mm.datasets.clip_shards import open_file
from nextvid_mm.datasets.video.backends import check_backend, nearest, open_video
from nextvid_mm.datasets.video.reader import Shot
from nextvid_mm.files import is_remote, replace_when_complete, shown
from nextvid_mm.registry import TRANSFORMS
from nextvid_mm.storage import Storage

# Decoded frames fill disks quickly; leave some room for everything else.
_KEEP_FREE_BYTES = 2 << 30
# Of a cache entry: magic, frames, height, width, channels, rate, duration, slack; then times, then
# frames.
_HEADER = struct.Struct('<8s4Q3d')
_MAGIC = b'frames 3'


# MMAction2's inferencer puts Decord's in place of transforms with Init or Decode in their names;
# under the second names ours stay.
@TRANSFORMS.register_module(name=['VideoInit', 'OpenVideo'])
class VideoInit(BaseTransform):
    """Open a video; the first transform of a pipeline, as MMAction2's ``DecordInit`` is.

    :class:`SampleClipByTime` then chooses times, and :class:`VideoDecode` reads the frames nearest
    to them. The default reader goes by presentation times and costs the same for a file of any
    length; see :class:`~nextvid_mm.datasets.video.reader.VideoReader`.

    With ``cache_dir``, all frames of a small video are decoded once and then read from a file that
    all workers share through the operating system's page cache: for clips of a few pixels, opening
    costs more than that. The frames are the same bytes either way. Entries are named after path,
    size and modification time of the video: a changed video gets a new entry. The folder can be
    deleted at any time.

    Required key: ``filename``. Added keys: ``video_reader``, ``avg_fps``, and ``total_frames`` at
    that rate.

    Args:
        backend: What decodes: ``pyav``, our reader; ``decord`` or ``torchcodec``, with their own
            idea of which frame is which (docs/reading.md compares them).
        cache_dir: Folder of the cache. None: no cache.
        max_clip_megabytes: Videos that decode to more are not cached.
        stream: Which of several video streams of a file. None: the first. With ``pyav`` only.
        num_threads: Threads of a decoder. 1 is fastest when several workers share the cores. With
            ``pyav`` only.
        timeout: Seconds for one video, where the dataset sets no limit.
        storage: How files behind an address (``s3://``, ``https://``, ...) are fetched: keys of
            :class:`~nextvid_mm.storage.Storage`.

    Raises:
        ValueError: For an unknown backend or key of ``storage``, or a key that the backend does not
            honour.
        ImportError: If the backend is not installed.
    """

    def __init__(
        self,
        backend: str = 'pyav',
        cache_dir: str | None = None,
        max_clip_megabytes: float = 4.0,
        stream: int | None = None,
        num_threads: int = 1,
        timeout: float = 60.0,
        storage: dict[str, Any] | None = None,
    ) -> None:
        check_backend(backend)
        for key, value, usual in (('stream', stream, None), ('num_threads', num_threads, 1)):
            if backend != 'pyav' and value != usual:
                raise ValueError(
                    f"{key}={value!r} of VideoInit is for backend='pyav' alone, found "
                    f'backend={backend!r}: leave out one of them'
                )
        self.backend, self.stream, self.num_threads = backend, stream, num_threads
        self.timeout, self.storage = timeout, Storage(**storage or {})
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.max_clip_bytes = int(max_clip_megabytes * 2**20)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Open the file of ``results``; see ``VideoReader`` for what may go wrong."""
        deadline = results.get('deadline', time.monotonic() + self.timeout)
        reader = self._reader(results['filename'], results.get('part'), deadline)
        results.update(video_reader=reader, total_frames=len(reader), avg_fps=reader.rate)
        return results

    def _reader(self, filename: str, part: Sequence[int] | None, deadline: float) -> Any:
        if part is not None or is_remote(filename):
            if self.backend != 'pyav':
                raise ValueError(
                    f'backend={self.backend!r} of VideoInit reads files on a disk only, found '
                    f'{shown(filename)}'
                )
            file = open_file(self.storage, filename, part, deadline)
            return open_video(file, 'pyav', self.stream, self.num_threads, deadline)
        if self.cache_dir is None:
            return self._open(filename, deadline)
        status = os.stat(filename)
        identity = (
            f'{os.path.abspath(filename)}|{status.st_size}|{status.st_mtime_ns}|{self.backend}'
            f'|{self.stream}'
        )
        name = blake2b(os.fsencode(identity), digest_size=16).hexdigest()
        entry = self.cache_dir / name[:2] / f'{name}.frames'
        return CachedVideo.load(entry) or self._fill(entry, self._open(filename, deadline))

    def _open(self, filename: str, deadline: float) -> Any:
        return open_video(filename, self.backend, self.stream, self.num_threads, deadline)

    def _fill(self, entry: Path, video: Any) -> Any:
        """Decode the whole video and keep it, if it is small enough."""
        first = video.frames_at([0.0]).frames[0]
        if first.nbytes * len(video) > self.max_clip_bytes:
            return video
        if self.backend == 'pyav':
            times, frames = zip(*video.every(), strict=True)
        else:
            shot = video.frames_at(video.times)
            times, frames = shot.times, shot.frames
        reader = CachedVideo(
            np.stack(frames), np.array(times), video.rate, video.duration, video.slack
        )
        video.close()
        try:
            reader.save(entry)
        except OSError as error:
            print_log(f'not cached: {error}', logger='current', level=30)
        return reader


@TRANSFORMS.register_module(name=['VideoDecode', 'ReadFrames'])
class VideoDecode(BaseTransform):
    """Decode the frames that :class:`SampleClipByTime` has chosen, and close the video.

    Required keys: ``video_reader``, and ``frame_times`` or, from MMAction2's samplers,
    ``frame_inds`` and ``avg_fps``. Added keys: ``imgs``, ``img_shape``,
    ``original_shape``, ``modality``. Changed key: ``frame_times``, to those that the frames really
    have.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace the reader of ``results`` by frames."""
        reader = results.pop('video_reader')
        times = results.get('frame_times')
        if times is None:
            times = np.asarray(results['frame_inds']) / results['avg_fps']
        try:
            shot = reader.frames_at(times)
        finally:
            reader.close()
        shape = shot.frames[0].shape[:2]
        results.update(
            imgs=shot.frames,
            frame_times=shot.times,
            original_shape=shape,
            img_shape=shape,
            modality='RGB',
        )
        return results


class CachedVideo:
    """Decoded frames behind the part of ``VideoReader`` that transforms use.

    Args:
        frames: Frames ``(n, H, W, 3)``, uint8.
        times: When each is shown ``(n,)``, seconds.
        rate: Average frames per second.
        duration: Seconds.
        slack: Of the reader, which decides between two frames that are equally near.
    """

    def __init__(
        self,
        frames: NDArray[np.uint8],
        times: NDArray[np.float64],
        rate: float,
        duration: float,
        slack: float,
    ) -> None:
        self.frames, self.times, self.slack = frames, times, slack
        self.rate, self.duration = rate, duration

    def __len__(self) -> int:
        return max(1, round(self.duration * self.rate))

    def frames_at(self, times: Sequence[float] | NDArray[np.floating]) -> Shot:
        """Copies of the frames nearest to times; see ``VideoReader.frames_at``."""
        numbers = nearest(self.times, np.asarray(times, dtype=np.float64), self.slack)
        return Shot(list(self.frames[numbers]), self.times[numbers])

    def close(self) -> None:
        """Nothing."""

    def save(self, entry: Path) -> None:
        """Write to ``entry``, all or nothing.

        Raises:
            OSError: If the disk is nearly full or cannot be written.
        """
        entry.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(entry.parent).free < self.frames.nbytes + _KEEP_FREE_BYTES:
            raise OSError(f'less than 2 GB are free in {entry.parent}')
        # Two workers may decode the same video at once; each renames a complete file of its own.
        with replace_when_complete(entry, durable=False) as path, open(path, 'wb') as file:
            numbers = (*self.frames.shape, self.rate, self.duration, self.slack)
            file.write(_HEADER.pack(_MAGIC, *numbers))
            file.write(np.asarray(self.times, dtype='<f8').tobytes())
            file.write(self.frames.tobytes())

    @classmethod
    def load(cls, entry: Path) -> CachedVideo | None:
        """Read an entry; None if there is none, or a crash of the machine has damaged it."""
        try:
            data = np.fromfile(entry, dtype=np.uint8)
        except FileNotFoundError:
            return None
        if len(data) < _HEADER.size:
            return None
        head = _HEADER.unpack(data[: _HEADER.size].tobytes())
        magic, count, height, width, channels, *numbers = head
        begin = _HEADER.size + 8 * count
        if magic != _MAGIC or len(data) != begin + count * height * width * channels:
            return None
        times = data[_HEADER.size : begin].view('<f8')
        return cls(data[begin:].reshape(count, height, width, channels), times, *numbers)
