"""What a clip costs: by length of its file, by reader, and with several clips of one video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.loading import is_usable
from benchmarks.report import Report
from benchmarks.timing import ratio, side_by_side
from nextvid_mm.datasets.transforms.sampling import SampleClipByTime
from nextvid_mm.datasets.video.backends import open_video

RATE, SIZE = 30, (340, 256)
SEGMENTS, FRAMES = 8, 16
KINETICS = dict(frame_interval=4, num_frames=FRAMES)
"""Clips of the probe of Kinetics-400."""
SPARSE = dict(fps=4, num_frames=FRAMES)
"""Clips of pretraining."""
Work = Callable[[], Any]


def compare_decoding(clips: int = 20, repeats: int = 5, clock: str = 'cpu') -> Report:
    """Time random clips of H.264 files that are made for it, side by side.

    Args:
        clips: of each file and run.
        repeats: timed runs.
        clock: ``wall`` or ``cpu``.
    """
    report = Report(
        f'a clip of {FRAMES} frames, H.264 of {SIZE[0]} x {SIZE[1]}',
        dict(clips=clips, repeats=repeats, clock=clock),
        ('what', 'ms', 'against', 'its ms', 'ratio', '±'),
    )
    with TemporaryDirectory() as folder:
        for what, first, other, second in _pairs(Path(folder), clips):
            series = side_by_side({'first': first, 'second': second}, repeats, 1, clock, what)
            relative = ratio(series['first'], series['second'])
            milliseconds = {name: 1e3 * values.median / clips for name, values in series.items()}
            row = {'what': what, 'ms': milliseconds['first'], 'against': other}
            row |= {'its ms': milliseconds['second'], 'ratio': relative.median}
            row['±'] = f'{relative.spread:.0%}'
            report.add(**row, seconds=[values.seconds for values in series.values()])
    return report


def _pairs(folder: Path, clips: int) -> list[tuple[str, Work, str, Work]]:
    """What is compared: name and work of both sides."""
    short = write_video(folder / 'gop12.mp4', 10, gop=12)
    sparse = write_video(folder / 'gop250.mp4', 10, gop=250)
    minute = write_video(folder / 'seconds.mp4', 12, gop=48)
    hour = repeated(minute, folder / 'minutes.mp4', 150)
    ours = partial(read_clips, clips=clips)
    found: list[tuple[str, Work, str, Work]] = [
        ('from 30 minutes', partial(ours, hour, SPARSE), 'from 12 s', partial(ours, minute, SPARSE))
    ]
    if is_usable('decord'):
        for name, path in (('GOP 12', short), ('GOP 250', sparse)):
            theirs = partial(read_clips, path, SPARSE, clips, with_decord)
            found.append((f'decord, {name}', theirs, 'ours', partial(ours, path, SPARSE)))
        theirs = partial(read_clips, hour, SPARSE, clips, with_decord)
        found.append(('decord, 30 minutes', theirs, 'ours', partial(ours, hour, SPARSE)))
    one, all_of_them = KINETICS, dict(KINETICS, num_clips=SEGMENTS)
    both = partial(ours, short, all_of_them), partial(ours, short, one)
    found.append((f'{SEGMENTS} segments, GOP 12', both[0], '1 segment', both[1]))
    return found


def write_video(path: Path, seconds: float, gop: int, size: tuple[int, int] = SIZE) -> Path:
    """Encode a texture that drifts, with grain, by x264's defaults."""
    width, height = size
    draw = np.random.default_rng(0)
    coarse = draw.integers(0, 256, (height // 8 + 8, width // 8 + 8, 3), dtype=np.uint8)
    texture = coarse.repeat(8, 0).repeat(8, 1).astype(np.int16)
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=RATE, options={'threads': '1'})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, 'yuv420p', gop
        for number in range(round(seconds * RATE)):
            drifted = np.roll(texture, (number, 2 * number), (0, 1))[:height, :width]
            picture = (drifted + draw.integers(-9, 10, drifted.shape)).clip(0, 255)
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format='rgb24')
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def repeated(path: Path, target: Path, times: int) -> Path:
    """Write a video's packets several times over: a long file without encoding one."""
    with av.open(str(path)) as source, av.open(str(target), 'w') as container:
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        length, unit = stream.duration or 0, stream.time_base or Fraction(1, RATE)
        packets = [
            (bytes(packet), packet.pts, packet.dts, packet.is_keyframe)
            for packet in source.demux(stream)
            if packet.dts is not None and packet.pts is not None
        ]
        for number in range(times):
            for content, shown, decoded, is_key in packets:
                packet = av.Packet(content)
                shift = number * length
                packet.pts, packet.dts = shown + shift, decoded + shift
                packet.time_base, packet.is_keyframe = unit, is_key
                packet.stream = copy
                container.mux(packet)
    return target


def with_ours(path: Path, sampler: SampleClipByTime) -> Sequence[NDArray[np.uint8]]:
    """Frames of a clip by our reader."""
    video = open_video(path)
    info = sampler.transform(dict(total_frames=len(video), avg_fps=video.rate))
    frames = video.frames_at(info['frame_times']).frames
    video.close()
    return frames


def with_decord(path: Path, sampler: SampleClipByTime) -> NDArray[np.uint8]:
    """The same by decord, in this process."""
    import decord

    video = decord.VideoReader(str(path), num_threads=1)
    info = sampler.transform(dict(total_frames=len(video), avg_fps=video.get_avg_fps()))
    return video.get_batch(info['frame_inds']).asnumpy()


def read_clips(
    path: Path, sampling: dict[str, Any], clips: int, read: Callable[..., Any] = with_ours
) -> None:
    """Read random clips of a file, which is opened for each; always the same clips."""
    sampler = SampleClipByTime(**sampling)
    for number in range(clips):
        np.random.seed(number)
        read(path, sampler)
