"""Picks the frames of a clip by time, whatever the frame rate of the file."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from numpy.typing import NDArray

from nextvid_mm.registry import TRANSFORMS

# Seconds (or frames) by which timestamps may be off: files store them in ticks, decord returns
# float32.
_TOLERANCE = 1e-4


@TRANSFORMS.register_module()
class SampleClipByTime(BaseTransform):
    """Choose frames at even times: frame k of a clip is the one nearest to ``start + k / fps``.

    The spacing is exact over the whole clip: errors do not add up, and no frame is off by more
    than half a frame of the file. It follows the frames' own timestamps where the reader has them
    (decord does), so that files of variable frame rate are right too, and the average rate
    otherwise.

    **Short clips.** Where the file ends before the clip does, the last frame is repeated: time
    never wraps around or runs backwards. A file slower than ``fps`` repeats frames likewise.

    The first frame of a training clip is drawn from NumPy's global generator, evenly over all
    starts that leave room for the clip. With several clips, each is drawn from its own part of
    these starts. In test mode the starts are spread evenly from the first to the last; a single
    clip lies in the middle.

    Required keys: ``total_frames``; for ``fps`` also ``video_reader`` or ``avg_fps``;
    ``num_frames`` unless given here. Added keys: ``frame_inds`` (clips one after another),
    ``clip_len``, ``num_clips``, ``frame_interval`` (rounded).

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
        """Choose the frames of ``results``.

        Raises:
            ValueError: If the video has no frames, or neither timestamps nor a frame rate.
        """
        clip_len = self._clip_length(results)
        times, step = self._timeline(results)
        starts = self._starts(times, (clip_len - 1) * step)
        targets = times[starts][:, None] + np.arange(clip_len) * step
        halfway = (times[1:] + times[:-1]) / 2
        # A target exactly halfway takes the later frame; without the tolerance, rounding would
        # decide.
        frames = np.searchsorted(halfway, targets + _TOLERANCE, side='right')
        spacing = (times[-1] - times[0]) / max(len(times) - 1, 1)
        results['frame_inds'] = frames.reshape(-1) + results.get('start_index', 0)
        results['clip_len'] = clip_len
        results['num_clips'] = self.num_clips
        results['frame_interval'] = max(1, round(step / spacing)) if spacing > 0 else 1
        return results

    def _clip_length(self, results: dict[str, Any]) -> int:
        length = self.num_frames or results.get('num_frames')
        if not length:
            raise ValueError(
                'SampleClipByTime does not know how many frames to take: set num_frames, or '
                'use it inside a MixtureDataset'
            )
        return int(length)

    def _timeline(self, results: dict[str, Any]) -> tuple[NDArray[np.float64], float]:
        """Return the frames' times ``(total_frames,)`` and the step of a clip in the same unit."""
        total = results['total_frames']
        if total < 1:
            raise ValueError(f'{results.get("filename", "the video")} has no frames')
        if self.fps is None:
            return np.arange(total, dtype=np.float64), float(self.frame_interval)  # type: ignore[arg-type]
        reader = results.get('video_reader')
        if reader is not None and hasattr(reader, 'get_frame_timestamp'):
            times = np.asarray(reader.get_frame_timestamp(np.arange(total)), dtype=np.float64)[:, 0]
            if total == 1 or times[-1] > times[0]:
                return times, 1 / self.fps
        rate = results.get('avg_fps')
        if not rate:
            raise ValueError(
                f'{results.get("filename", "the video")} tells neither timestamps nor a frame '
                'rate: use frame_interval instead of fps'
            )
        return np.arange(total) / rate, 1 / self.fps

    def _starts(self, times: NDArray[np.float64], span: float) -> NDArray[np.int64]:
        """Choose the first frame of each clip, given how long a clip lasts."""
        room = int(np.searchsorted(times, times[-1] - span + _TOLERANCE, side='right'))
        choices = max(1, room)
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
