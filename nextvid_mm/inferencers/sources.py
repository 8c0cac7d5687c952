"""Pictures that come in by themselves: cameras and streams of a network, which may break off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import av
import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray

from nextvid_mm.data_checks import one_line
from nextvid_mm.datasets.video.ffmpeg import reason_of
from nextvid_mm.files import shown

Picture = NDArray[np.uint8]
LONGEST_WAIT = 30.0  # seconds between two tries
SILENCE = 10.0  # seconds without data after which a connection counts as broken


def read_url(url: str) -> Iterator[Picture]:
    """Pictures of a stream (``rtsp://``, ``http://``, ``udp://``), as they come.

    Yields:
        RGB pictures ``(height, width, 3)``.

    Raises:
        OSError, ValueError: if it cannot be opened, or breaks off.
    """
    options = {'rtsp_transport': 'tcp'} if url.startswith('rtsp') else {}
    try:
        with av.open(url, options=options, timeout=(SILENCE, SILENCE)) as container:
            if not container.streams.video:
                raise ValueError(f'{shown(url)} has no video stream')
            for frame in container.decode(video=0):
                yield np.asarray(frame.to_ndarray(format='rgb24'), dtype=np.uint8)
    except av.FFmpegError as error:  # its text has the whole address, password included
        raise OSError(reason_of(error)) from None


def read_camera(number: int) -> Iterator[NDArray[np.uint8]]:
    """Pictures of a camera, as they come.

    Args:
        number: of the camera, as OpenCV counts them.

    Yields:
        RGB pictures ``(height, width, 3)``.

    Raises:
        ValueError: if the camera does not open.
    """
    import cv2

    camera = cv2.VideoCapture(number)
    try:
        if not camera.isOpened():
            raise ValueError(f'camera {number} does not open')
        while True:
            good, picture = camera.read()
            if not good:
                return
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    finally:
        camera.release()


def reconnecting(
    connect: Callable[[], Iterable[Picture]],
    name: str,
    patience: float = 300.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Picture | None]:
    """Connect again whenever a stream breaks off or ends: after 1 s, 2 s, 4 s, at most 30 s.

    Args:
        connect: opens the source; called again for each try.
        name: of the source, for messages.
        patience: seconds without a picture after which to give up.
        sleep: waits.
        clock: seconds.

    Yields:
        Pictures; None where some may be missing.

    Raises:
        OSError, ValueError: if the source does not open the first time, or not for ``patience``.
    """
    wait, seen, last = 1.0, False, clock()
    while True:
        error: Exception | None = None
        try:
            for picture in connect():
                yield picture
                wait, seen, last = 1.0, True, clock()
        except (OSError, ValueError) as broken:
            error = broken
        reason = 'it ended' if error is None else one_line(error)
        if not seen:
            raise ValueError(f'{name} does not open: {reason}') from error
        if clock() - last + wait > patience:
            raise ValueError(
                f'{name}: no picture for {clock() - last:.0f} s, and no more tries: {reason}'
            ) from error
        text = f'{name} broke off ({reason}); connecting again in {wait:g} s'
        print_log(text, 'current', logging.WARNING)
        yield None
        sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def newest(pictures: Iterable[Picture | None]) -> Iterator[Picture | None]:
    """Read in a thread of its own and give the newest picture: who is slow skips some.

    So a picture is never older than the work on the one before it, and one is kept at a time. A
    None among those skipped is given before the next picture.
    """
    ready, box = threading.Condition(), _Box()

    def pump() -> None:
        error: BaseException | None = None
        try:
            for picture in pictures:
                with ready:
                    if box.closed:
                        return
                    box.gap |= picture is None
                    box.picture = picture
                    ready.notify()
        except Exception as broken:
            error = broken
        with ready:
            box.ended, box.error = True, error
            ready.notify()

    threading.Thread(target=pump, daemon=True).start()
    try:
        while True:
            with ready:
                ready.wait_for(lambda: box.gap or box.picture is not None or box.ended)
                gap, picture, ended = box.gap, box.picture, box.ended
                box.gap, box.picture = False, None
            if gap:
                yield None
            if picture is not None:
                yield picture
            elif ended and not gap:
                if box.error is not None:
                    raise box.error
                return
    finally:
        with ready:
            box.closed = True


class _Box:
    """What a reading thread has for its reader."""

    picture: Any = None
    gap = ended = closed = False
    error: BaseException | None = None


def at_most(pictures: Iterable[Picture | None], fps: float) -> Iterator[Picture | None]:
    """Let live pictures through at ``fps``; those in between are dropped, but no None."""
    due = time.monotonic()
    for picture in pictures:
        if picture is None:
            yield None
            continue
        now = time.monotonic()
        if now >= due:
            yield picture
            due = max(due + 1 / fps, now)
