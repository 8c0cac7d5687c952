"""Decodes for another process with decord or torchcodec; run as a file, imports nothing of ours.

These libraries can hang inside of native code, where nothing but the end of the process stops them.
The other side (``backends.py``) ends it.
"""

from __future__ import annotations

import ctypes
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any


def die_with_parent() -> None:
    """Let the system end this process when its parent ends, however that happens (Linux)."""
    if sys.platform == 'linux':
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def outlast_signals() -> None:
    """Let signals to all processes of a run pass: the other side ends its step, and then this one.

    A scheduler and Ctrl-C send them; who dies of them would be taken for crashed by a good file.
    """
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _open_decord(path: str) -> tuple[Any, dict[str, Any]]:
    import decord

    video = decord.VideoReader(path, num_threads=1)
    times = video.get_frame_timestamp(range(len(video)))[:, 0]
    return video, dict(times=times, rate=float(video.get_avg_fps()))


def _open_torchcodec(path: str) -> tuple[Any, dict[str, Any]]:
    from torchcodec.decoders import VideoDecoder

    video = VideoDecoder(path, dimension_order='NHWC', num_ffmpeg_threads=1, seek_mode='exact')
    # By number, as MMAction2 asks: it tells no frame's time before that is decoded.
    frames = range(len(video))
    rate = float(video.metadata.average_fps or 0)
    return video, dict(times=[frame / rate for frame in frames], rate=rate)


def _what_is_missing(backend: str) -> str | None:
    try:
        if backend == 'decord':
            import decord  # noqa: F401
        else:
            from torchcodec.decoders import VideoDecoder

            VideoDecoder(b'no video')  # loads FFmpeg's libraries, which the import does not
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        if isinstance(error, ImportError | OSError) or 'Could not load' in str(error):
            return text
    return None


def main(backend: str, descriptor: int) -> None:
    """Answer requests until the other side hangs up: a path opens, a list of numbers decodes."""
    die_with_parent()
    outlast_signals()
    connection = Connection(descriptor)
    open_file = dict(decord=_open_decord, torchcodec=_open_torchcodec)[backend]
    missing = _what_is_missing(backend)
    connection.send(missing)
    if missing is not None:
        return
    video: Any = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            if isinstance(request, str):
                video, answer = open_file(request)
            elif backend == 'decord':
                answer = video.get_batch(request).asnumpy()
            else:
                answer = video.get_frames_at(request).data.numpy()
        except Exception as error:  # they raise whatever they like
            answer = (type(error).__name__, str(error))  # type: ignore[assignment]
        connection.send(answer)


if __name__ == '__main__':
    main(sys.argv[1], int(sys.argv[2]))
