import gc
import io
import time
import weakref
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_audio_only, write_clip, write_without_frames
from PIL import Image

from benchmarks.frames import judge
from benchmarks.numbered_files import Kind, kinds, number_of, shown, write
from nextvid_mm.datasets.video import decoder
from nextvid_mm.datasets.video.reader import ReadTimeoutError, VideoReader

KINDS = {kind.name: kind for kind in kinds()}
X264 = {'preset': 'ultrafast', 'bf': '2'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('kinds')


@pytest.fixture(scope='module')
def long(folder):
    """20 seconds, a key frame every 12 frames."""
    return write(Kind('long.mp4', 'libx264', X264, dict(gop=12, frames=600)), folder)


def numbers(shot):
    return [number_of(frame) for frame in shot.frames]


def test_there_are_enough_kinds():
    assert len(KINDS) >= 25


@pytest.mark.parametrize('name', KINDS)
def test_every_clip_of_every_kind_is_right(name, folder):
    path = write(KINDS[name], folder)
    verdict = judge(path, KINDS[name])
    assert (verdict.right, verdict.backwards, verdict.failed) == (30, 0, 0)
    with VideoReader(path) as video:
        every = [number_of(frame) for _, frame in video.every()]
    assert every == [n for n in shown(path, KINDS[name])[1].tolist() if n in set(every)]
    assert len(every) >= len(shown(path, KINDS[name])[1]) - 1
    path.unlink()


def test_a_path_bytes_and_an_open_file_are_the_same_video(long):
    times = np.arange(16) / 4 + 1
    expected = numbers(VideoReader(str(long)).frames_at(times))
    assert expected == [30 + int(7.5 * k + 0.5) for k in range(16)]
    for file in (long, long.read_bytes(), io.BytesIO(long.read_bytes())):
        assert numbers(VideoReader(file).frames_at(times)) == expected
    with open(long, 'rb') as file:
        assert numbers(VideoReader(file).frames_at(times)) == expected


@pytest.mark.parametrize('name', ['long.mp4', 'a.webp'])
def test_a_closed_video_lets_go_of_its_file(folder, long, name):
    """At once: a file that is opened in a tar file or behind an address holds blocks of it."""
    if name == 'a.webp':
        Image.new('RGB', (32, 32)).save(folder / name)

    class File(io.BytesIO):
        """One that can be followed."""

    file = File((folder / name).read_bytes())
    video = VideoReader(file)
    video.frames_at([0.0])
    alive = weakref.ref(file)
    del file
    gc.disable()
    try:
        video.close()
        del video
        assert alive() is None
    finally:
        gc.enable()


def test_times_may_come_in_any_order_and_more_than_once(long):
    shot = VideoReader(long).frames_at([3.0, 1.0, 3.0, 2.0])
    assert numbers(shot) == [90, 30, 90, 60]
    assert shot.times == pytest.approx([3.0, 1.0, 3.0, 2.0])
    assert shot.frames[0] is not shot.frames[2], 'transforms work in place'


def test_before_the_start_and_after_the_end_the_nearest_frame_is_repeated(long):
    shot = VideoReader(long).frames_at([-5.0, 0.0, 19.97, 20.5, 99.0])
    assert numbers(shot) == [0, 0, 599, 599, 599]


@pytest.fixture
def decoded(monkeypatch):
    """Times of the packets given to decoders."""
    times = []
    original = decoder.Decoder._packets

    def packets(self, from_key):
        for packet in original(self, from_key):
            if packet.size:
                times.append(packet.pts)
            yield packet

    monkeypatch.setattr(decoder.Decoder, '_packets', packets)
    return times


def test_several_clips_decode_no_frame_twice_and_skip_what_lies_between(long, decoded):
    video = VideoReader(long)
    begin = len(decoded)
    segments = [start + np.arange(8) / 10 for start in np.linspace(0.5, 19, 8)]
    for times in segments:  # one call each, as consecutive windows are read
        video.frames_at(times)
    assert len(decoded[begin:]) == len(set(decoded[begin:]))
    assert len(decoded) < 8 * (24 + 24 + 6)
    at_once = VideoReader(long).frames_at(np.concatenate(segments))
    assert numbers(at_once)[:8] == numbers(VideoReader(long).frames_at(segments[0]))


@pytest.mark.parametrize('ending', ['mp4', 'mkv', 'webm', 'ts', 'flv'])
def test_what_lies_between_clips_is_skipped_in_every_container(folder, decoded, ending):
    """Also where a file's index is read bit by bit, or has gaps."""
    codec, options = 'libx264', X264
    if ending == 'webm':
        codec, options = 'libvpx', {'deadline': 'realtime', 'cpu-used': '8'}
    path = write(Kind(f'between.{ending}', codec, options, dict(gop=12, frames=900)), folder)
    with VideoReader(path) as video:
        sequence = list(video.every())
    shown_at = np.array([moment for moment, _ in sequence])
    decoded.clear()
    with VideoReader(path) as video:
        for start in np.linspace(0.5, 28, 5):
            shot = video.frames_at(start + np.arange(16) / 30)
            for moment, frame in zip(shot.times, shot.frames, strict=True):
                (place,) = np.flatnonzero(abs(shown_at - moment) < 1e-6)
                assert (frame == sequence[place][1]).all()
            assert abs(shot.times - start - np.arange(16) / 30).max() < 0.6 / 30
    # Of a clip: its frames, one group of frames before them, and those that a decoder runs ahead.
    assert len(decoded) < 5 * (16 + 2 * 12 + 8)


def test_dense_windows_decode_no_frame_twice(long, decoded):
    video = VideoReader(long)
    found = [number_of(frame) for _, frame in video.every(fps=5)]
    assert found == list(range(0, 600, 6))
    assert len(decoded) == len(set(decoded))


def test_the_cost_of_a_clip_does_not_depend_on_the_length_of_the_file(folder, long, decoded):
    short = write(Kind('short.mp4', 'libx264', X264, dict(gop=12, frames=120)), folder)
    counts = []
    for path in (short, long):
        decoded.clear()
        VideoReader(path).frames_at(1.0 + np.arange(16) / 10)
        counts.append(len(decoded))
    assert counts[0] == counts[1]


def test_an_irregular_file_is_read_again_without_leaving_frames_out(folder):
    """Frames far from any wanted time at the average rate may be the nearest all the same."""
    times = np.cumsum([*[1000] * 20, *[20] * 340])
    kind = Kind('gaps.mkv', 'libx264', {'preset': 'veryfast', 'bf': '3'}, dict(times=times))
    assert judge(write(kind, folder), kind).right == 30


def test_the_second_video_stream_is_there_for_the_asking(folder):
    path = folder / 'two.mkv'
    with av.open(str(path), 'w') as container:
        streams = [container.add_stream('mpeg4', rate=10) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 32, 32, 'yuv420p'
        for _ in range(10):
            for stream, grey in zip(streams, (40, 200), strict=True):
                picture = np.full((32, 32, 3), grey, np.uint8)
                frame = av.VideoFrame.from_ndarray(picture, format='rgb24')
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    for number, grey in ((None, 40), (0, 40), (1, 200)):
        shot = VideoReader(path, stream=number).frames_at([0.3])
        assert shot.frames[0].mean() == pytest.approx(grey, abs=4)
    with pytest.raises(ValueError, match=r'two\.mkv: stream=2, but it has 2 video stream\(s\)'):
        VideoReader(path, stream=2)


def test_one_frame_is_a_video(tmp_path):
    path = write_clip(tmp_path / 'one.mp4', num_frames=1)
    video = VideoReader(path)
    assert len(video) == 1
    assert len(list(video.every())) == 1
    assert len(VideoReader(path).frames_at([0, 1, 2]).frames) == 3


def test_an_hour_of_black_at_one_frame_per_second(tmp_path):
    with av.open(str(tmp_path / 'hour.mp4'), 'w') as container:
        stream = container.add_stream('libx264', rate=1, options={'preset': 'ultrafast'})
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        for _ in range(3600):
            black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format='rgb24')
            container.mux(stream.encode(black))
        container.mux(stream.encode())
    video = VideoReader(tmp_path / 'hour.mp4')
    assert (len(video), video.rate, video.duration) == (3600, 1, 3600)
    shot = video.frames_at(3000 + np.arange(16) / 4)
    assert shot.times.tolist() == [3000, 3000, *[3001] * 4, *[3002] * 4, *[3003] * 4, 3004, 3004]


@pytest.mark.parametrize('kind', ['zero_frames', 'audio_only', 'empty', 'text', 'missing', 'cut'])
def test_what_is_no_video_is_named(kind, tmp_path, long):
    path = tmp_path / 'a.mp4'
    writers = dict(zero_frames=write_without_frames, audio_only=write_audio_only)
    contents = dict(empty=b'', text=b'no video\n' * 99, cut=long.read_bytes()[:3000])
    if kind in writers:
        writers[kind](path)
    elif kind in contents:
        path.write_bytes(contents[kind])
    error = FileNotFoundError if kind == 'missing' else ValueError
    with pytest.raises(error, match=r'a\.mp4'):
        VideoReader(path).frames_at([0.0])


def test_a_file_that_ends_before_its_time_says_so(tmp_path):
    kind = Kind('whole.mp4', 'libx264', X264, dict(gop=12, container={'movflags': 'faststart'}))
    content = write(kind, tmp_path).read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(content[: len(content) // 2])
    video = VideoReader(tmp_path / 'cut.mp4')
    assert numbers(video.frames_at([0.5, 1.0])) == [15, 30], 'what is there can be read'
    with pytest.raises(ValueError, match=r'cut\.mp4: (damaged at|ends after) \d+\.\d+ s'):
        video.frames_at([10.0])


def test_a_file_that_is_cut_while_it_is_read(tmp_path):
    kind = Kind('whole.mp4', 'libx264', X264, dict(gop=12, container={'movflags': 'faststart'}))
    path = write(kind, tmp_path)
    video = VideoReader(path)
    video.frames_at([0.5])
    with open(path, 'rb+') as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r'whole\.mp4: (damaged at|ends after)'):
        video.frames_at([10.0])


def test_damage_counts_only_where_frames_are_wanted(tmp_path):
    path = write(Kind('a.mp4', 'libx264', X264, dict(gop=12)), tmp_path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.pos is not None and p.size]
    content = bytearray(path.read_bytes())
    broken = [p for p in packets if 5.0 < p.pts * p.time_base < 5.2]
    for packet in broken:
        content[packet.pos : packet.pos + packet.size] = b'\xff' * packet.size
    path.write_bytes(content)
    assert numbers(VideoReader(path).frames_at([1.0, 2.0, 8.0])) == [30, 60, 240]
    with pytest.raises(ValueError, match=r'a\.mp4: damaged at [45]\.\d\d s'):
        VideoReader(path).frames_at([1.0, 5.1])


def test_reading_stops_at_the_deadline(long, monkeypatch):
    video = VideoReader(long, deadline=time.monotonic() + 60)
    video.frames_at([1.0])
    clock = time.monotonic() + 61
    monkeypatch.setattr(decoder.time, 'monotonic', lambda: clock)
    with pytest.raises(ReadTimeoutError, match=r'long\.mp4: not read in time'):
        video.frames_at([10.0])


@pytest.mark.parametrize('matrix', [None, 1, 5, 9])
@pytest.mark.parametrize('full', [False, True])
def test_colours_follow_the_file_s_matrix_and_range(matrix, full, tmp_path):
    path = tmp_path / 'a.mkv'
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('ffv1', rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, 'yuv444p'
        context = stream.codec_context
        context.color_range = 2 if full else 1
        if matrix is not None:
            context.colorspace = matrix
        for _ in range(3):
            frame = av.VideoFrame(32, 32, 'yuv444p')
            for plane, value in zip(frame.planes, (120, 90, 170), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.color_range = context.color_range
            frame.colorspace = matrix or 2
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    red, blue = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}.get(matrix, (0.299, 0.114))
    bright = 120 / 255 if full else (120 - 16) / 219
    u, v = ((90 - 128) / (255 if full else 224), (170 - 128) / (255 if full else 224))
    r, b = bright + 2 * (1 - red) * v, bright + 2 * (1 - blue) * u
    g = (bright - red * r - blue * b) / (1 - red - blue)
    found = VideoReader(path).frames_at([0.2]).frames[0][10, 10]
    assert found == pytest.approx(np.array([r, g, b]) * 255, abs=2)


def test_an_animation_s_pictures_build_on_each_other(tmp_path):
    """A frame of a GIF holds only what has changed."""
    pictures = []
    for n in range(12):
        picture = np.zeros((32, 60, 3), np.uint8)
        picture[:, : 5 * n] = 255
        pictures.append(Image.fromarray(picture))
    for ending in ('gif', 'webp'):
        path = Path(tmp_path, f'a.{ending}')
        pictures[0].save(
            path, save_all=True, append_images=pictures[1:], duration=100, lossless=True
        )
        video = VideoReader(path)
        shot = video.frames_at([0.9, 0.3])
        assert [round(float(f.mean()) / 255 * 12) for f in shot.frames] == [9, 3]
