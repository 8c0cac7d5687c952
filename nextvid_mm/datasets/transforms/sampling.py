"""Picks the times of a clip's frames, whatever the frame rate of the file."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray

from nextvid_mm.registry import TRANSFORMS

# Frames by which a place may be off that should be a whole number.
_TOLERANCE = 1e-3


@TRANSFORMS.register_module()
class SampleClipByTime(BaseTransform):
    """Choose even times: frame k of a clip is the one nearest to ``start + k / fps``.

    The spacing is exact over the whole clip: errors do not add up, and no frame is off by more
    than half a frame of the file. :class:`VideoDecode` finds the frames by their own times, so that
    files of variable frame rate are right too.

    **Short clips.** Where the file ends before the clip does, the last frame is repeated: time
    never wraps around or runs backwards. A file slower than ``fps`` repeats frames likewise.

    The first frame of a training clip is drawn from NumPy's global generator, evenly over all
    starts that leave room for the clip. With several clips, each is drawn from its own part of
    these starts. In test mode the starts are spread evenly from the first to the last; a single
    clip lies in the middle.

    Of a ``segment`` (seconds from and to, the end None for that of the file), clips are taken from
    this part of the video alone.

    Required keys: ``total_frames`` and ``avg_fps``; ``num_frames`` unless given here. Added keys:
    ``frame_times`` (seconds, clips one after another), ``frame_inds`` (the same as numbers of
    frames at the file's average rate, for decoders that go by these), ``clip_len``,
    ``num_clips``, ``frame_interval`` (rounded).

    Args:
        fps: Frames per second of the clip. Give this or ``frame_interval``.
        frame_interval: Distance between neighbouring frames, in frames of the file.
        num_frames: Frames per clip. None: ``results['num_frames']``, which a mixture sets.
        num_clips: Clips taken from each video.
        test_mode: Take the clips from fixed places.

    Raises:
        ValueError: If not exactly one of ``fps`` and ``frame_interval`` is given, or a value is
            not positive.
    """

    def __init__(
        self,
        fps: float | None = None,
        frame_interval: int | None = None,
        num_frames: int | None = None,
        num_clips: int = 1,
        test_mode: bool = False,
    ) -> None:
        if (fps is None) == (frame_interval is None):
            raise ValueError(
                'SampleClipByTime needs either fps or frame_interval, found '
                f'fps={fps!r} and frame_interval={frame_interval!r}'
            )
        given = dict(
            fps=fps, frame_interval=frame_interval, num_frames=num_frames, num_clips=num_clips
        )
        for key, value in given.items():
            if value is not None and not value > 0:
                raise ValueError(f'SampleClipByTime: {key}={value!r} must be larger than 0')
        self.fps = fps
        self.frame_interval = frame_interval
        self.num_frames = num_frames
        self.num_clips = num_clips
        self.test_mode = test_mode

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Choose the times of ``results``.

        Raises:
            ValueError: If the video has no frames, or ``fps`` meets one without a frame rate.
        """
        clip_len = self.num_frames or results.get('num_frames')
        if not clip_len:
            raise ValueError(
                'SampleClipByTime does not know how many frames to take: set num_frames, or '
                'use it inside a MixtureDataset'
            )
        total, rate = results['total_frames'], results.get('avg_fps')
        name = results.get('filename', 'the video')
        if total < 1:
            raise ValueError(f'{name} has no frames')
        if self.fps is not None and not rate:
            raise ValueError(f'{name} tells no frame rate: use frame_interval instead of fps')
        # Places are counted in frames of the file at its average rate.
        step = float(self.frame_interval) if self.frame_interval else rate / self.fps  # type: ignore[operator]
        first, last = self._part(results, total, rate)
        starts = first + self._starts(last - first, (clip_len - 1) * step)
        places = (starts[:, None] + np.arange(clip_len) * step).reshape(-1)
        numbers = np.floor(places + 0.5 + _TOLERANCE).astype(int).clip(max=last - 1)
        results['frame_inds'] = numbers + results.get('start_index', 0)
        if rate:
            # What comes after the last frame of the file shows that one; a part ends before.
            results['frame_times'] = places.clip(max=total if last == total else last - 1) / rate
        results['clip_len'] = clip_len
        results['num_clips'] = self.num_clips
        results['frame_interval'] = max(1, round(step))
        return results

    @staticmethod
    def _part(results: dict[str, Any], total: int, rate: float | None) -> tuple[int, int]:
        """First frame of the part of the file that clips are taken from, and the one after it.

        Raises:
            ValueError: If the part begins after the end of the video.
        """
        if results.get('segment') is None:
            return 0, total
        start, end = results['segment']
        if not rate:
            raise ValueError(f'{results.get("filename")} tells no frame rate to find a part by')
        first = round(start * rate)
        if first >= total:
            raise ValueError(
                f'{results.get("filename")}: its part begins at {start:g} s, the video ends at '
                f'{total / rate:.2f} s'
            )
        last = total if end is None else round(min(total, end * rate))
        return first, max(last, first + 1)

    def _starts(self, total: int, span: float) -> NDArray[np.int64]:
        """Choose the first frame of each clip, given over how many frames it reaches."""
        choices = max(1, int(np.floor(total - 1 - span + _TOLERANCE)) + 1)
        if self.test_mode:
            places = np.linspace(0, choices - 1, self.num_clips)
            return (
                np.floor(places).astype(int)
                if self.num_clips > 1
                else np.array([(choices - 1) // 2])
            )
        low = np.arange(self.num_clips) * choices // self.num_clips
        high = np.arange(1, self.num_clips + 1) * choices // self.num_clips
        return np.random.randint(low, np.maximum(high, low + 1))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(fps={self.fps}, frame_interval={self.frame_interval}, '
            f'num_frames={self.num_frames}, num_clips={self.num_clips}, test_mode={self.test_mode})'
        )


@TRANSFORMS.register_module()
class BeforeAction(BaseTransform):
    """Put what comes before a part of a video in the place of the part: the past of an action.

    Required key: ``segment``, seconds from and to. It becomes the ``seconds`` before its begin.

    Args:
        seconds: How much of the past.
    """

    def __init__(self, seconds: float) -> None:
        if not seconds > 0:
            raise ValueError(f'BeforeAction: seconds={seconds!r} must be larger than 0')
        self.seconds = seconds

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Move the part of ``results``.

        Raises:
            ValueError: If there is no part, or less than ``seconds`` before it.
        """
        name = results.get('filename', 'the video')
        if results.get('segment') is None:
            raise ValueError(f'{name} has no second at which its action begins (column start)')
        start = results['segment'][0]
        if start < self.seconds:
            raise ValueError(
                f'{name}: the action begins at {start:g} s, {self.seconds:g} s before it are needed'
            )
        results['segment'] = (start - self.seconds, start)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(seconds={self.seconds})'
