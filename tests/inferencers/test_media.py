import numpy as np
import pytest
from permissions import as_ordinary_user

from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.listed_clips import ListedClip
from nextvid_mm.datasets.packing import pack
from nextvid_mm.inferencers.media import (
    MediaReader,
    UnreadableMediaError,
    find_media,
)


def read(path, fps=None, num_frames=16, stride=16, size=32, multiple=2):
    return list(MediaReader(fps, num_frames, stride, size, multiple).windows(path))


def levels(window):
    """Which frame of the file each frame of the window is, by its grey level."""
    grey = (window.clip.mean((0, 2, 3)) + 1) * 127.5
    return (grey / 4).round().int().tolist()


def test_windows_cover_a_long_video_and_the_last_is_moved_back(media):
    windows = read(media / 'long.mp4')
    assert [levels(w) for w in windows] == [
        list(range(16)),
        list(range(16, 32)),
        list(range(28, 44)),
    ]
    assert [w.first for w in windows] == [0, 16, 28]
    np.testing.assert_allclose(windows[2].times, np.arange(28, 44) / 8, atol=1e-4)
    assert windows[0].clip.shape == (3, 16, 32, 32)


def test_a_short_video_is_one_window_of_whole_tokens(media):
    (window,) = read(media / 'short.mp4')
    assert levels(window) == [0, 1, 2, 3, 4, 4]
    np.testing.assert_allclose(window.times, np.array([0, 1, 2, 3, 4, 4]) / 8, atol=1e-4)


def test_frames_are_taken_at_even_times(media):
    (window,) = read(media / 'long.mp4', fps=2.0)
    assert levels(window) == [*range(0, 44, 4), 40]  # 11 frames, rounded up to whole tokens


def test_an_image_is_a_static_clip_in_rgb(media):
    (window,) = read(media / 'image.png', num_frames=4)
    assert window.clip.shape == (3, 4, 32, 32)
    assert window.clip.mean((1, 2, 3)).tolist() == [1.0, -1.0, -1.0]
    assert window.times.tolist() == [0.0] * 4


@pytest.mark.parametrize('name', ['text.mp4', 'text.jpg', 'absent.mp4', 'absent.png'])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(media, name):
    with pytest.raises(UnreadableMediaError, match=rf'{name}: \w+Error'):
        read(media / name)


@pytest.mark.parametrize(
    ('length', 'stride', 'starts'),
    [(44, 44, [0]), (16, 16, [0, 16, 28]), (20, 4, [0, 4, 8, 12, 16, 20, 24]), (42, 42, [0, 2])],
)
def test_windows_cover_everything(media, length, stride, starts):
    windows = read(media / 'long.mp4', num_frames=length, stride=stride)
    assert [window.first for window in windows] == starts
    assert [levels(window)[0] for window in windows] == starts
    assert {len(window.times) for window in windows} == {length}


def test_files_folders_and_lists_without_repetition(media, tmp_path):
    (tmp_path / 'list.txt').write_text(f'{media}/long.mp4\n\n{media}/absent.mp4\n')
    found = find_media([media / 'short.mp4', media, tmp_path / 'list.txt'])
    names = [path.rsplit('/', 1)[1] for path in found]
    assert names == [
        'short.mp4',
        'image.png',
        'long.mp4',
        'text.jpg',
        'text.mp4',
        'absent.mp4',
    ]
    (tmp_path / 'list.txt').write_text('# clips\n\n a clip.mp4 3\nb.mp4\n/c.mp4 0\n')
    found = find_media([tmp_path / 'list.txt'], root='videos')
    assert found == ['videos/a clip.mp4', 'videos/b.mp4', '/c.mp4']
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no video or image in .*empty; endings: .mp4'):
        find_media([tmp_path / 'empty'])


def test_a_part_of_a_video_is_read_alone(media):
    part = ListedClip(f'{media}/long.mp4', start=1.0, end=3.0)
    (window,) = read(part)
    assert levels(window) == list(range(8, 24))
    np.testing.assert_allclose(window.times, np.arange(8, 24) / 8, atol=1e-4)
    (window,) = read(part, fps=4.0, num_frames=8, stride=8)
    assert levels(window) == list(range(8, 24, 2))
    (rest,) = read(part._replace(start=5.0, end=np.nan), num_frames=4, stride=4)
    assert levels(rest) == [40, 41, 42, 43]
    with pytest.raises(UnreadableMediaError, match=r'long.mp4#t=9,: .*no frame after 9.0 s'):
        read(part._replace(start=9.0, end=np.nan))


def test_files_in_tar_files_are_read(media, tmp_path):
    files = [ListedClip(f'{media}/{name}') for name in ('short.mp4', 'image.png')]
    (packed,) = pack(files, tmp_path, workers=0)
    index_shards([packed.shard], tmp_path / TABLE)
    video, picture = find_media([tmp_path / TABLE], tmp_path)
    assert str(video) == f'{tmp_path}/shard-000000.tar::000000-00000.mp4'
    for clip, file in zip((video, picture), files, strict=True):
        (ours,), (theirs,) = read(clip), read(file)
        assert (ours.clip == theirs.clip).all()


def test_lists_may_be_tables(media, tmp_path):
    (tmp_path / 'a.csv').write_text('video,start,end\na.mp4,0,2\na.mp4,,\na.mp4,0,2\nb.mp4,1,\n')
    found = find_media([tmp_path / 'a.csv'], 'videos', dict(path='video'))
    assert [str(clip) for clip in found] == [
        'videos/a.mp4#t=0,2', 'videos/a.mp4', 'videos/b.mp4#t=1,',
    ]  # fmt: skip
    assert isinstance(found[1], str)


def test_a_closed_folder_is_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / 'closed').mkdir(mode=0)
    with as_ordinary_user():
        (path,) = find_media([tmp_path])
        with pytest.raises(UnreadableMediaError, match=r'closed: PermissionError'):
            read(path)


def test_what_gives_access_is_never_shown():
    clip = ListedClip('memory://me:hidden@files/gone.mp4?signature=hidden', start=1.0)
    with pytest.raises(
        UnreadableMediaError, match=r'^memory://files/gone\.mp4#t=1,: FileNotFoundError'
    ) as error:
        read(clip)
    assert 'hidden' not in str(error.value)


def test_files_and_lists_may_be_addresses(media):
    import fsspec

    for name in ('short.mp4', 'image.png'):
        with fsspec.open(f'memory://media/{name}', 'wb') as file:
            file.write((media / name).read_bytes())
    with fsspec.open('memory://media/list.csv', 'wb') as file:
        file.write(b'path,start,end\nshort.mp4,0.25,0.5\n')
    found = find_media(['memory://media/list.csv', 'memory://media/image.png'], 'memory://media')
    assert [str(one) for one in found] == [
        'memory://media/short.mp4#t=0.25,0.5', 'memory://media/image.png',
    ]  # fmt: skip
    (window,), (still,) = (read(one) for one in found)
    assert levels(window) == [2, 3]
    assert (still.clip == read(media / 'image.png')[0].clip).all()
