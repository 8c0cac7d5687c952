import numpy as np

from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec


def decode(path):
    with VideoReader(path) as video:
        return video.rate, np.stack([frame for _, frame in video.every()])


def test_round_trip_keeps_frames_rate_and_colours(tmp_path):
    frames, _ = render_clip(DemoSpec(), 'train', 0)
    encode_video(tmp_path / 'clip.mp4', frames, fps=8)
    rate, decoded = decode(tmp_path / 'clip.mp4')
    assert rate == 8
    assert decoded.shape == frames.shape
    error = decoded.astype(float) - frames
    assert np.abs(error.mean(axis=(0, 1, 2))).max() < 2  # no shift of colours
    assert 10 * np.log10(255**2 / (error**2).mean()) > 30  # dB


def test_bytes_are_reproducible(tmp_path):
    frames, _ = render_clip(DemoSpec(frames=4), 'train', 0)
    for name in ('a.mp4', 'b.mp4'):
        encode_video(tmp_path / name, frames, fps=8)
    assert (tmp_path / 'a.mp4').read_bytes() == (tmp_path / 'b.mp4').read_bytes()


def test_coding_noise_of_a_frame_does_not_depend_on_its_neighbours(tmp_path):
    moving, _ = render_clip(DemoSpec(frames=6), 'train', 1)
    still = np.repeat(moving[3:4], 6, axis=0)
    for name, frames in (('moving', moving), ('still', still)):
        encode_video(tmp_path / name, frames, fps=8)
    one, other = (decode(tmp_path / name)[1][3] for name in ('moving', 'still'))
    np.testing.assert_array_equal(one, other)
