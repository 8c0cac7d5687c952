import io

import numpy as np
import pytest
from PIL import Image

from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.datasets.video.webp import WebPContainer, is_webp


def animation(durations):
    pictures = [Image.new('RGB', (16, 8), (20 * n % 256, n, 0)) for n in range(len(durations))]
    file = io.BytesIO()
    pictures[0].save(
        file, 'WEBP', save_all=True, append_images=pictures[1:], duration=durations, lossless=True
    )
    return file.getvalue()


def test_frames_are_shown_as_long_as_the_file_says():
    video = VideoReader(animation([100, 300, 50, 200]))
    assert [round(time, 3) for time, _ in video.every()] == [0, 0.1, 0.4, 0.45]
    shot = video.frames_at([0.2, 0.41, 9])
    assert [frame[0, 0, 0] for frame in shot.frames] == [20, 40, 60]
    assert shot.frames[0].shape == (8, 16, 3)


@pytest.mark.parametrize('durations', [[2000, *[40] * 99], [10, *[100] * 49], [50, 0, 301]])
def test_it_lasts_as_long_as_its_frames_together(tmp_path, durations):
    (tmp_path / 'a.webp').write_bytes(animation(durations))
    shown = np.array([length or 100 for length in durations])
    with VideoReader(tmp_path / 'a.webp') as video:
        assert video.duration == pytest.approx(shown.sum() / 1000)
        assert len(video) == len(durations)
        found = [time for time, _ in video.every()]
        assert found == pytest.approx((shown.cumsum() - shown) / 1000)
        assert video.frames_at([0.0, video.duration]).times == pytest.approx([0, found[-1]])


def test_a_picture_that_stands_still_is_one_frame():
    file = io.BytesIO()
    Image.new('RGB', (16, 8), (40, 0, 0)).save(file, 'WEBP')
    video = VideoReader(file.getvalue())
    assert (video.duration, len(list(video.every()))) == (0.1, 1)


def test_a_duration_of_zero_is_a_tenth_of_a_second():
    container = WebPContainer(io.BytesIO(animation([0, 0, 0])), 'a.webp')
    packets = list(container.demux(container.streams.video[0]))
    assert [packet.pts for packet in packets] == [0, 100, 200]


def test_damage_is_named(tmp_path):
    content = animation([100] * 6)
    path = tmp_path / 'a.webp'
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r'a\.webp'):
        list(VideoReader(path).every())


def test_it_is_known_by_its_content():
    assert is_webp(io.BytesIO(animation([100])))
    assert not is_webp(io.BytesIO(b'RIFF1234AVI '))
