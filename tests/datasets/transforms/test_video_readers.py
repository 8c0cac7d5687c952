"""Every back-end reads the same frames at the same times."""

import logging

import av
import decord
import numpy as np
import pytest

from nextvid_mm.datasets.transforms import video_readers
from nextvid_mm.datasets.transforms.video_readers import (
    BACKENDS,
    PyAVReader,
    TorchcodecReader,
    usable_backend,
)


@pytest.fixture(scope='module')
def clip(write_clip, tmp_path_factory):
    """24 frames, frame k of grey level 4 k, key frames at 0 and 12."""
    return write_clip(tmp_path_factory.mktemp('readers') / 'clip.mp4')


@pytest.mark.parametrize(
    'numbers', [[0, 1, 2], [23], [20, 3, 3, 11], range(24), [5, 4], [13, 22, 1]], ids=str
)
def test_pyav_gives_the_frames_that_were_asked_for(clip, numbers):
    reader = PyAVReader(clip)
    for _ in range(2):  # the second time from wherever the first has left the file
        frames = reader.get_batch(numbers).asnumpy()
        grey = frames.reshape(len(frames), -1).mean(1)
        np.testing.assert_allclose(grey, [4 * n for n in numbers], atol=1.5)
    theirs = decord.VideoReader(clip).get_batch(list(numbers)).asnumpy()
    assert np.abs(frames.astype(int) - theirs).max() <= 3


def test_pyav_decodes_from_the_key_frame_before(clip):
    """After the seek, the decoder's first frame is number 12, not 0."""
    reader = PyAVReader(clip)
    reader._approach(14)
    assert next(reader._decoder).pts == reader.pts[12]


def test_pyav_times_are_the_file_s(write_clip, tmp_path):
    path = write_clip(tmp_path / 'variable.mp4', 6, times=[0, 100, 150, 400, 410, 900])
    ours, theirs = PyAVReader(path), decord.VideoReader(path)
    assert len(ours) == len(theirs) == 6
    np.testing.assert_allclose(
        ours.get_frame_timestamp(range(6))[:, 0],
        theirs.get_frame_timestamp(range(6))[:, 0],
        atol=1e-3,
    )
    steady = write_clip(tmp_path / 'steady.mp4')
    assert PyAVReader(steady).get_avg_fps() == pytest.approx(8)


def test_pyav_says_what_is_wrong(clip, tmp_path):
    with pytest.raises(IndexError, match='frame 24 of a video with 24'):
        PyAVReader(clip).get_batch([24])
    sound = tmp_path / 'sound.wav'
    with av.open(str(sound), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        frame.rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(ValueError, match='no video stream'):
        PyAVReader(str(sound))


def test_torchcodec_is_read_like_the_others(clip, monkeypatch):
    """Or, where FFmpeg is missing, a stand-in with its interface is."""
    if usable_backend('torchcodec') == 'decord':
        monkeypatch.setattr(
            video_readers.importlib,
            'import_module',
            lambda name: StandIn if 'codec' in name else None,
        )
    reader = TorchcodecReader(clip)
    frames = reader.get_batch([7, 2]).asnumpy()
    np.testing.assert_allclose(frames.reshape(2, -1).mean(1), [28, 8], atol=1.5)
    assert len(reader) == 24
    assert reader.get_frame_timestamp([2])[0, 0] == pytest.approx(0.25)


class StandIn:
    class VideoDecoder:
        def __init__(self, path, dimension_order, num_ffmpeg_threads):
            assert dimension_order == 'NHWC'
            self.video = decord.VideoReader(path)

        def get_frames_at(self, numbers):
            import torch

            class Batch:
                data = torch.from_numpy(self.video.get_batch(numbers).asnumpy())

            return Batch


def test_without_ffmpeg_torchcodec_falls_back_to_decord(monkeypatch, caplog):
    class Broken:
        @staticmethod
        def VideoDecoder(source):
            raise RuntimeError('Could not load libtorchcodec. Likely causes: ...')

    monkeypatch.setattr(video_readers.importlib, 'import_module', lambda name: Broken)
    said = []
    monkeypatch.setattr(video_readers, 'print_log', lambda text, **kw: said.append((text, kw)))
    assert usable_backend('torchcodec') == 'decord'
    assert 'Could not load libtorchcodec' in said[0][0]
    assert said[0][1]['level'] == logging.WARNING


def test_only_known_backends():
    assert {name: usable_backend(name) for name in ('decord', 'pyav')} == dict(
        decord='decord', pyav='pyav'
    )
    assert set(BACKENDS) == {'decord', 'pyav', 'torchcodec'}
    with pytest.raises(ValueError, match="backend='opencv' is not one of decord, pyav, torchcodec"):
        usable_backend('opencv')
