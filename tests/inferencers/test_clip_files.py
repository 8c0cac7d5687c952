"""Reading seeds and writing films."""

import av
import numpy as np
import pytest
import torch
from clips import pictures_of, write_clip
from PIL import Image

from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.inferencers.clip_files import (
    fit,
    movie,
    read_seed,
    write_movie,
)


@pytest.fixture
def video(tmp_path):
    """24 frames at 8 fps, each as bright as its number times 10."""
    frames = np.stack([np.full((48, 64, 3), 10 * n, np.uint8) for n in range(24)])
    encode_video(tmp_path / 'v.mp4', frames, 8)
    return tmp_path / 'v.mp4'


def numbers(frames):
    return [round(float(frame.mean()) / 10) for frame in frames]


@pytest.mark.parametrize(
    ('fps', 'start', 'expected'),
    [
        (8, 0.0, list(range(24))),
        (4, 0.0, list(range(0, 24, 2))),
        (4, 1.0, list(range(8, 24, 2))),
        (16, 2.75, [22, 23, 23]),
        (2.6, 0.0, [0, 3, 6, 9, 12, 15, 18, 22]),
    ],
)
def test_frames_are_those_nearest_to_even_times(video, fps, start, expected):
    seed = read_seed(video, num_frames=24, size=32, fps=fps, start=start)
    assert numbers(seed.frames.permute(1, 0, 2, 3).float()) == expected


def test_a_video_seed_is_resized_and_says_so(video):
    seed = read_seed(video, num_frames=6, size=32, fps=4)
    assert seed.frames.shape == (3, 6, 32, 32)
    assert numbers(seed.frames.permute(1, 0, 2, 3).float()) == [0, 2, 4, 6, 8, 10]
    assert not seed.static
    assert seed.notes == ['v.mp4: 64x48 px resized to 32x32 px, the longer side cut in the middle']


@pytest.mark.parametrize('ending', ['.ppm', '.tif', '.tiff', '.WEBP'])
def test_every_kind_of_image_is_one(tmp_path, ending):
    Image.new('RGB', (32, 32)).save(tmp_path / f'a{ending}')
    assert read_seed(tmp_path / f'a{ending}', num_frames=4, size=32, fps=4).static


def test_an_image_seed_is_repeated(tmp_path):
    Image.new('RGB', (32, 32), (10, 20, 30)).save(tmp_path / 'a.png')
    seed = read_seed(tmp_path / 'a.png', num_frames=4, size=32, fps=4)
    assert seed.static
    assert seed.notes == []
    assert seed.frames.shape == (3, 4, 32, 32)
    assert seed.frames[:, 3, 5, 5].tolist() == [10, 20, 30]
    small = read_seed(tmp_path / 'a.png', num_frames=4, size=16, fps=4)
    assert small.notes == ['a.png: 32x32 px resized to 16x16 px']


def test_fitting_cuts_the_middle_out():
    picture = np.zeros((10, 30, 3), np.uint8)
    picture[:, 10:20] = 255
    assert (fit(picture, 10) == 255).all()


def test_films_can_be_played(tmp_path):
    rows = [('one', torch.rand(3, 5, 8, 9) * 2 - 1), ('two', torch.zeros(3, 5, 8, 9))]
    frames = movie(rows, zoom=1)
    assert frames.shape == (5, 44, 10, 3), 'captions of 14 px, even height and width'
    paths = write_movie(tmp_path / 'film', frames, fps=8)
    assert [path.name for path in paths] == ['film.gif', 'film.mp4']
    with Image.open(paths[0]) as gif:
        assert (gif.n_frames, gif.size) == (5, (10, 44))
    assert len(pictures_of(paths[1])) == 5


def test_bad_files_are_named(tmp_path, video):
    with pytest.raises(FileNotFoundError, match=r'none\.mp4: no such image or video'):
        read_seed(tmp_path / 'none.mp4', 4, 32, 4)
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(ValueError, match=r'text\.mp4'):
        read_seed(tmp_path / 'text.mp4', 4, 32, 4)
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(ValueError, match=r'text\.png'):
        read_seed(tmp_path / 'text.png', 4, 32, 4)
    with pytest.raises(ValueError, match=r'v\.mp4 has no frame after 9\.0 s'):
        read_seed(video, 4, 32, 4, start=9.0)
    with av.open(str(tmp_path / 'sound.mka'), 'w') as container:
        stream = container.add_stream('pcm_s16le', rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), 's16', 'mono')
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r'sound\.mka: has no video stream'):
        read_seed(tmp_path / 'sound.mka', 4, 32, 4)


def test_a_seed_ends_with_the_part_that_a_list_names(tmp_path):
    write_clip(tmp_path / 'a.mp4', num_frames=40)
    seed = read_seed(ListedClip(f'{tmp_path}/a.mp4', start=2.0, end=3.0), 16, 32, fps=8)
    levels = (seed.frames[0, :, 16, 16] / 4).round().int().tolist()
    assert levels == list(range(16, 24))
