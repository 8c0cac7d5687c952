"""Decodes a video forward from the key frame before a time, or from its start."""

from __future__ import annotations

import io
import re
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import av
import numpy as np

from nextvid_mm.datasets.video.ffmpeg import is_closed, pick_stream, reason_of
from nextvid_mm.datasets.video.webp import WebPContainer, is_webp
from nextvid_mm.files import ReadTimeoutError

# Seconds by which times may be off that should be equal; where a file counts in coarser ticks, most
# of a tick. It decides between two frames that are equally near: the later one is taken.
TOLERANCE = 1e-4
# What these decoders make of a frame depends on all frames before it.
_CANVASES = ('gif', 'apng', 'webp')
# AVI stores no presentation times, and those of these codecs cannot be derived from their order.
_REORDERED = ('h264', 'hevc', 'vvc', 'vc1')
# Decoders that can leave out frames on which no other depends.
_CAN_LEAVE_OUT = ('h264', 'hevc')


_may_interrupt = False


@contextmanager
def interruptible() -> Iterator[None]:
    """Let :func:`interrupt` give up what is read in this block."""
    global _may_interrupt
    _may_interrupt = True
    try:
        yield
    finally:
        _may_interrupt = False


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler of signals, for processes that read: what they read now takes too long.

    Raises:
        ReadTimeoutError: inside of :func:`interruptible`, once.
    """
    global _may_interrupt
    if _may_interrupt:
        _may_interrupt = False
        raise ReadTimeoutError('not read before the run was to end')


class Decoded(NamedTuple):
    """A frame and when it is shown."""

    time: float
    """Seconds of the file's clock."""
    frame: av.VideoFrame


class Decoder:
    """Frames of a video in the order in which they are shown, from any place.

    Args:
        file: see ``VideoReader``.
        name: of the file, for messages.
        stream: see ``VideoReader``.
        threads: see ``VideoReader``.
        deadline: see ``VideoReader``.

    Attributes:
        first: the first frame of the file.
        damage: time and words of the first packet since the last key frame that was refused.
        targets: times that are wanted, rising; frames that are near none may be left out.
        left_out: times of the frames that may have been, since the last jump.
        careful: leave out nothing.
        rate: frames per second.
        slack: ``TOLERANCE`` for this file, seconds.
        tick: seconds of the file's unit of time.

    Raises: as of ``VideoReader``.
    """

    def __init__(
        self, file: Any, name: str, stream: int | None, threads: int, deadline: float | None
    ) -> None:
        self.name, self.deadline = name, deadline
        self._file, self._number, self._threads = file, stream, threads
        self.targets: list[float] = []
        self.careful = False
        self._key_distance: float | None = None
        self.rate, self.slack = 25.0, TOLERANCE
        self._open()
        self._begin(from_key=False)
        first = self.step()
        if first is None:
            fault = f', damaged: {self.damage[1]}' if self.damage else ''
            raise ValueError(f'{name}: the video holds no frame{fault}')
        self.first = first
        # The average may count hidden frames; a rate near it is the true one.
        average = float(self.stream.average_rate or 0)
        base = float(self.stream.guessed_rate or 0)
        rate = base if abs(base - average) < 0.02 * average else average or base
        self.rate = rate if 0 < rate < 1000 else 25.0
        self.slack = max(TOLERANCE, min(0.75 * self.tick, 0.25 / self.rate))

    def step(self) -> Decoded | None:
        """The next frame; None at the end."""
        return next(self._frames, None)

    def jump(self, moment: float) -> Decoded:
        """The first of frames decoded from a place at or before ``moment``.

        Seeks to the key frame before it and, if that comes late, ever further back.
        """
        aim, back = moment, 0.5
        while not self._from_start and aim > self.first.time + self.slack:
            try:
                self.container.seek(self._stamp(aim), backward=True, stream=self.stream)
            except av.error.FFmpegError:
                break
            self._begin(from_key=True)
            found = self.step()
            if found is not None and found.time <= moment + self.slack:
                return found
            aim, back = aim - back, 2 * back
        self.container.close()
        self._open()
        self._begin(from_key=False)
        found = self.step()
        if found is None:
            raise ValueError(f'{self.name}: cannot be read a second time')
        return found

    def worth_a_jump(self, moment: float, reached: float) -> bool:
        """Whether a key frame lies between what has been decoded and ``moment``.

        Args:
            moment: where to go.
            reached: time of the newest frame.
        """
        if self._from_start or moment <= reached + 2 / self.rate:
            return False
        if len(self._index) > 1:
            # An index tells when frames are decoded, some frames before they are shown.
            stamp = self._stamp(moment - 4 / self.rate)
            found = self._index.search_timestamp(stamp, backward=True)
            if found >= 0 and self._index[found].timestamp > self._demuxed:
                return True
            # Only this one is complete when opened; others grow as the file is read, or have gaps.
            if self.container.format.name.startswith('mov'):
                return False
        # Without an index, a jump may land behind: it must be longer than groups of frames are.
        return moment - reached > 1.5 * (self._key_distance or 10.0)

    def lasts(self, frame: av.VideoFrame) -> float:
        """Seconds that the last frame is shown."""
        return max((frame.duration or 0) * self.tick, 1 / self.rate)

    def close(self) -> None:
        """Close the file."""
        self.container.close()
        # The frames to come hold this decoder, which would keep the file until cycles are sought.
        self._frames: Iterator[Decoded] = iter(())

    def end(self) -> float:
        """When the last frame ends, without decoding it."""
        stream, container = self.stream, self.container
        begin = self.tick * (stream.start_time or 0)
        if stream.duration and stream.duration > 0:
            return begin + self.tick * stream.duration
        if match := re.match(r'(\d+):(\d+):([\d.]+)', stream.metadata.get('DURATION', '')):
            hours, minutes, seconds = map(float, match.groups())
            return 3600 * hours + 60 * minutes + seconds
        alone = len(container.streams) == 1
        if container.duration and container.duration > 0 and alone:
            # FLV notes when it ends, the others how long they take.
            start = 0 if container.format.name == 'flv' else container.start_time or 0
            return float((container.duration + start) / av.time_base)
        return self._end_by_packets()

    def _end_by_packets(self) -> float:
        """The same, from the last packets, looked for from where a header puts the end."""
        far = self.container.duration
        far = far if far and far > 0 else 1 << 42
        with suppress(av.error.FFmpegError):
            self.container.seek(far, backward=True)
        last = self.first.time
        with suppress(av.error.FFmpegError):
            for packet in self.container.demux(self.stream):
                self._check_clock()
                if packet.pts is not None:
                    last = max(last, (packet.pts + (packet.duration or 0)) * self.tick)
        self.jump(self.first.time)
        return last

    def _open(self) -> None:
        source: Any = self._file
        if isinstance(source, bytes):
            source = io.BytesIO(source)
        elif isinstance(source, str | Path):
            source = str(source)
        else:
            source.seek(0)
        self._pick(self._container(source))

    def _container(self, source: Any) -> Any:
        if is_webp(source):
            return WebPContainer(source, self.name)
        left = None if self.deadline is None else max(0.1, self.deadline - time.monotonic())
        try:
            return av.open(source, timeout=left, metadata_errors='replace')
        except av.error.ExitError as error:
            raise ReadTimeoutError(f'{self.name}: cannot be opened in time') from error
        except av.error.FFmpegError as error:
            raise ValueError(
                f'{self.name}: cannot be opened as video: {reason_of(error)}'
            ) from error

    def _pick(self, container: Any) -> None:
        self.container = container
        self.stream = pick_stream(self.container, self._number, self.name)
        context = self.stream.codec_context
        context.thread_count = self._threads
        context.thread_type = 'AUTO' if self._threads > 1 else 'NONE'
        codec = context.name
        formats = self.container.format.name
        self.tick = float(self.stream.time_base or 1e-6)
        self._from_start = codec in _CANVASES
        self._untimed = formats == 'avi' and codec in _REORDERED
        self._index = self.stream.index_entries

    def _begin(self, from_key: bool) -> None:
        """Decode from where the container is."""
        self.damage: tuple[float, str] | None = None
        self._demuxed = -(1 << 62)
        self.left_out: list[float] = []
        self._frames = self._decode(from_key)

    def _stamp(self, moment: float) -> int:
        """A time in the file's ticks."""
        return int(np.floor((moment + self.slack) / self.tick + 1e-6))

    def _decode(self, from_key: bool) -> Iterator[Decoded]:
        """Frames from the container's place on, with increasing times.

        Args:
            from_key: wait for a key frame (and in files without times, for a closed place).
        """
        self._latest = -np.inf
        # MPEG program streams misplace the time of some key frames, and of the first after a jump.
        misplaced = self.container.format.name == 'mpeg'
        drop = misplaced and from_key
        for packet in self._packets(from_key):
            try:
                frames = packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self._note_damage(packet, error)
                continue
            for frame in frames:
                moment = self._moment(frame)
                if misplaced and moment <= self._latest:
                    moment = self._latest + 1 / self.rate
                if drop:
                    drop = False
                elif moment > self._latest:
                    self._latest = moment
                    yield Decoded(moment, frame)

    def _packets(self, from_key: bool) -> Iterator[av.Packet]:
        context = self.stream.codec_context
        may_leave_out = context.name in _CAN_LEAVE_OUT and not self._untimed
        last_key: float | None = None
        self._count: int | None = None if from_key else 0
        waiting = from_key
        try:
            for packet in self.container.demux(self.stream):
                self._check_clock()
                if packet.is_keyframe and packet.pts is not None:
                    moment = packet.pts * self.tick
                    if last_key is not None:
                        gap = abs(moment - last_key)
                        self._key_distance = max(self._key_distance or 0.0, gap)
                    last_key = moment
                    self.damage = None
                if waiting and packet.size:
                    waiting = not (packet.is_keyframe and self._is_certain(packet))
                    if waiting:
                        continue
                if packet.dts is not None:
                    self._demuxed = packet.dts
                if may_leave_out:
                    skip = bool(packet.size) and self._not_needed(packet)
                    context.skip_frame = 'NONREF' if skip else 'DEFAULT'
                yield packet
        except av.error.ExitError as error:
            raise ReadTimeoutError(f'{self.name}: cannot be read in time') from error
        except av.error.FFmpegError as error:
            if not isinstance(error, av.error.EOFError):
                self.damage = self.damage or (self._latest, reason_of(error))

    def _not_needed(self, packet: av.Packet) -> bool:
        """Whether no wanted frame can be that of a packet, should no other frame need it."""
        if self.careful or not self.targets or packet.pts is None:
            return False
        moment, near = packet.pts * self.tick, 1.6 / self.rate
        if moment > self.targets[-1]:  # the next call may want it
            return False
        place = bisect_left(self.targets, moment - near)
        if place < len(self.targets) and self.targets[place] <= moment + near:
            return False
        self.left_out.append(moment)
        return True

    def _is_certain(self, packet: av.Packet) -> bool:
        """Whether the frames of a file without times can be counted from a packet on."""
        if not self._untimed:
            return True
        if packet.dts is None or not is_closed(packet, self.stream.codec_context.name):
            return False
        self._count = packet.dts
        return True

    def _moment(self, frame: av.VideoFrame) -> float:
        if not self._untimed and frame.pts is not None:
            return frame.pts * self.tick
        self._untimed = True
        count = self._count or 0
        self._count = count + 1
        return count * self.tick if self.container.format.name == 'avi' else count / self.rate

    def _note_damage(self, packet: av.Packet, error: av.error.FFmpegError) -> None:
        stamp = packet.pts if packet.pts is not None else packet.dts
        moment = stamp * self.tick if stamp is not None else -np.inf
        if self.damage is None:
            self.damage = (moment, reason_of(error))

    def _check_clock(self) -> None:
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise ReadTimeoutError(f'{self.name}: not read in time')
