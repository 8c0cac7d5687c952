import av
import numpy as np
import pytest

from benchmarks import decoding
from benchmarks.decoding import SPARSE, compare_decoding, read_clips, repeated, write_video
from nextvid_mm.datasets.video.backends import open_video


@pytest.fixture(scope='module')
def short(tmp_path_factory):
    return write_video(tmp_path_factory.mktemp('decoding') / 'short.mp4', 1, gop=6, size=(64, 48))


def test_a_repeated_video_is_as_long_and_shows_the_same_again(short, tmp_path):
    with open_video(repeated(short, tmp_path / 'long.mp4', 5)) as video:
        assert video.duration == pytest.approx(5)
        shot = video.frames_at([0.5, 3.5])
    assert np.array_equal(*shot.frames)
    with av.open(str(tmp_path / 'long.mp4')) as container:
        assert len(list(container.decode(video=0))) == 150


def test_every_pair_is_timed_and_reads_as_many_frames(short, monkeypatch):
    read = []

    def with_ours(path, sampler):
        read.append(len(decoding.with_ours(path, sampler)))

    read_clips(short, SPARSE, 2, with_ours)
    assert read == [16, 16]
    monkeypatch.setattr(decoding, 'write_video', lambda path, *_, **__: short)
    monkeypatch.setattr(decoding, 'repeated', lambda path, *_: path)
    monkeypatch.setattr(decoding, 'is_usable', lambda name: False)
    report = compare_decoding(clips=1, repeats=1)
    assert [row['what'] for row in report.rows] == ['from 30 minutes', '8 segments, GOP 12']
    assert all(row['ratio'] > 0 for row in report.rows)
