from types import SimpleNamespace

import av
import numpy as np
import pytest

from nextvid_mm.datasets.video import ffmpeg
from nextvid_mm.datasets.video.ffmpeg import Orientation, collected, is_closed, pick_stream

ONE = 1 << 16
# The eight matrices (a, b, c, d) and what they make of rows 0 1 / 2 3.
MATRICES = {
    (1, 0, 0, 1): [[0, 1], [2, 3]],
    (-1, 0, 0, 1): [[1, 0], [3, 2]],
    (1, 0, 0, -1): [[2, 3], [0, 1]],
    (-1, 0, 0, -1): [[3, 2], [1, 0]],
    (0, 1, -1, 0): [[2, 0], [3, 1]],  # a quarter to the right
    (0, -1, 1, 0): [[1, 3], [0, 2]],  # a quarter to the left
    (0, 1, 1, 0): [[0, 2], [1, 3]],
    (0, -1, -1, 0): [[3, 1], [2, 0]],
}


@pytest.mark.parametrize('matrix', MATRICES)
def test_all_eight_orientations(matrix):
    a, b, c, d = (value * ONE for value in matrix)
    data = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32).tobytes()
    orientation = Orientation.of(SimpleNamespace(side_data=dict(DISPLAYMATRIX=data)))
    picture = np.repeat(np.array([[0, 1], [2, 3]], np.uint8)[..., None], 3, 2)
    assert orientation.upright(picture)[..., 0].tolist() == MATRICES[matrix]
    assert Orientation.of(SimpleNamespace(side_data={})) == Orientation()


def test_many_messages_of_a_file_are_one_line(tmp_path, monkeypatch, capfd):
    said = []
    monkeypatch.setattr(ffmpeg, 'print_log', lambda text, **kw: said.append(text))
    before = av.logging.get_level()
    for _ in range(2):
        with collected(f'{tmp_path}/a.mp4'):
            for n in range(300):
                av.logging.log(av.logging.ERROR, 'test', f'message {n}')
    (line,) = said
    assert line.startswith(f'{tmp_path}/a.mp4: FFmpeg says: ')
    assert line.endswith(' more messages)')
    assert av.logging.get_level() == before
    assert ''.join(capfd.readouterr()) == ''


def stream(**flags):
    disposition = av.stream.Disposition(0)
    for name in flags:
        disposition |= av.stream.Disposition[name]
    return SimpleNamespace(disposition=disposition, codec_context=object())


def test_covers_and_thumbnails_are_no_videos():
    cover, thumbnails = stream(attached_pic=True), stream(timed_thumbnails=True)
    first, second = stream(), stream(default=True)
    videos = [cover, thumbnails, first, second]
    container = SimpleNamespace(streams=SimpleNamespace(video=videos))
    assert pick_stream(container, None, 'a.mp4') is first
    assert pick_stream(container, 1, 'a.mp4') is second
    with pytest.raises(ValueError, match=r'a\.mp4: stream=2, but it has 2'):
        pick_stream(container, 2, 'a.mp4')
    videos[2:] = []
    with pytest.raises(ValueError, match=r'a\.mp4: has no video stream'):
        pick_stream(container, None, 'a.mp4')


def test_sequences_that_stand_alone_are_known_by_their_units():
    start = b'\0\0\0\1'
    assert is_closed(start + b'\x67sps' + start + b'\x65idr', 'h264')
    assert not is_closed(start + b'\x67sps' + start + b'\x41frame', 'h264')
    assert is_closed(start + bytes([19 << 1, 1]), 'hevc')
    assert not is_closed(start + bytes([21 << 1, 1]), 'hevc'), 'frames before it may be lost'
    assert not is_closed(start + b'\x65', 'mpeg4')
