"""Opens videos for MMAction2's ``DecordDecode``, with a cache for small data sets."""

import os
import shutil
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from mmaction.datasets.transforms import DecordInit
from mmengine.logging import print_log
from numpy.typing import NDArray

from nextvid_mm.datasets.transforms.video_readers import BACKENDS, Frames, usable_backend
from nextvid_mm.files import replace_when_complete
from nextvid_mm.registry import TRANSFORMS

# Decoded frames fill disks quickly; leave some room for everything else.
_KEEP_FREE_BYTES = 2 << 30
# Of a cache entry: magic, frames, height, width, channels, fps; then times (float64), then frames.
_HEADER = struct.Struct('<8s4Qd')
_MAGIC = b'frames 1'


@TRANSFORMS.register_module()
class CachedDecordInit(DecordInit):
    """MMAction2's ``DecordInit``, plus a cache of decoded frames for small clips.

    Opening a file with decord costs more than decoding the few frames of a 64-pixel clip. With
    ``cache_dir``, a clip's frames are decoded once and then read from a file, which all workers
    share through the operating system's page cache. The frames are the same bytes either way.
    Entries are named after path, size and modification time of the video: a changed video gets a
    new entry. The folder can be deleted at any time.

    Local files are handed to decord by path: a file that is no video then does not end up, byte by
    byte, in decord's message.

    Args:
        cache_dir: Folder of the cache. None: no cache.
        max_clip_megabytes: Videos that decode to more are not cached.
        io_backend: As in MMAction2; the cache is for ``'disk'`` only.
        num_threads: Threads of a decoder. 1 is fastest when several workers share the cores.
        backend: What decodes: ``decord``; ``pyav``, which seeks to the key frame before a clip
            instead of scanning the file; or ``torchcodec``, which does too, and falls back to
            decord where FFmpeg's libraries are missing.
        kwargs: Arguments of the I/O backend.

    Raises:
        ValueError: If a cache is asked for files that are not on a local disk.
    """

    def __init__(
        self,
        cache_dir: str | None = None,
        max_clip_megabytes: float = 4.0,
        io_backend: str = 'disk',
        num_threads: int = 1,
        backend: str = 'decord',
        **kwargs: Any,
    ) -> None:
        super().__init__(io_backend, num_threads, **kwargs)
        if io_backend != 'disk' and (cache_dir is not None or backend != 'decord'):
            raise ValueError(
                f"CachedDecordInit: cache_dir and backend={backend!r} need io_backend='disk', "
                f'found {io_backend!r}'
            )
        self.backend = usable_backend(backend)
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self.max_clip_bytes = int(max_clip_megabytes * 2**20)

    def _get_video_reader(self, filename: str) -> Any:
        if self.io_backend != 'disk':
            return super()._get_video_reader(filename)
        if self.cache_dir is None:
            return self._open(filename)
        status = os.stat(filename)
        identity = f'{os.path.abspath(filename)}|{status.st_size}|{status.st_mtime_ns}'
        if self.backend != 'decord':
            identity += f'|{self.backend}'
        name = blake2b(identity.encode(), digest_size=16).hexdigest()
        entry = self.cache_dir / name[:2] / f'{name}.frames'
        return FrameReader.load(entry) or self._fill(entry, self._open(filename))

    def _open(self, filename: str) -> Any:
        # decord says no more than "Error reading"; this names a missing or forbidden file as such.
        with open(filename, 'rb'):
            return BACKENDS[self.backend](filename, self.num_threads)

    def _fill(self, entry: Path, video: Any) -> Any:
        """Decode the whole video and keep it, if it is small enough."""
        count = len(video)
        if video[0].asnumpy().nbytes * count > self.max_clip_bytes:
            return video
        frames = video.get_batch(range(count)).asnumpy()
        times = video.get_frame_timestamp(range(count))
        reader = FrameReader(frames, times, video.get_avg_fps())
        try:
            reader.save(entry)
        except OSError as error:
            print_log(f'not cached: {error}', logger='current', level=30)
        return reader


class FrameReader:
    """Decoded frames behind the part of decord's ``VideoReader`` that MMAction2 uses.

    Args:
        frames: Frames ``(n, H, W, 3)``, uint8.
        times: Start and end of each frame ``(n, 2)`` in seconds.
        fps: Average frames per second.
    """

    def __init__(self, frames: NDArray[np.uint8], times: NDArray[np.floating], fps: float) -> None:
        self.frames = frames
        self.times = times
        self.fps = fps

    def __len__(self) -> int:
        return len(self.frames)

    def get_avg_fps(self) -> float:
        """Average frames per second."""
        return self.fps

    def get_frame_timestamp(self, indices: Any) -> NDArray[np.floating]:
        """Start and end of frames ``(n, 2)`` in seconds."""
        return self.times[np.asarray(indices)]

    def get_batch(self, indices: Any) -> Frames:
        """Copy frames ``(n, H, W, 3)``."""
        return Frames(self.frames[np.asarray(indices)])

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
            file.write(_HEADER.pack(_MAGIC, *self.frames.shape, self.fps))
            file.write(np.asarray(self.times, dtype='<f8').tobytes())
            file.write(self.frames.tobytes())

    @classmethod
    def load(cls, entry: Path) -> 'FrameReader | None':
        """Read an entry; None if there is none, or a crash of the machine has damaged it."""
        try:
            data = np.fromfile(entry, dtype=np.uint8)
        except FileNotFoundError:
            return None
        if len(data) < _HEADER.size:
            return None
        magic, count, height, width, channels, fps = _HEADER.unpack(data[: _HEADER.size].tobytes())
        begin = _HEADER.size + 16 * count
        if magic != _MAGIC or len(data) != begin + count * height * width * channels:
            return None
        times = data[_HEADER.size : begin].view('<f8').reshape(count, 2)
        return cls(data[begin:].reshape(count, height, width, channels), times, fps)
