import pytest

from nextvid_mm.datasets.video_lists import (
    ClipListDataset,
    VideoFolder,
    bad_line,
    read_lines,
    split_line,
)
from nextvid_mm.registry import DATASETS


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('a.mp4', ('a.mp4', -1)),
        ('a.mp4 3', ('a.mp4', 3)),
        ('some path/my clip.mp4', ('some path/my clip.mp4', -1)),
        ('some path/my clip.mp4  12', ('some path/my clip.mp4', 12)),
        ('a.mp4 -1', ('a.mp4', -1)),
        ('7', ('7', -1)),
    ],
)
def test_lines(line, expected):
    assert split_line(line) == expected


def test_blank_lines_and_comments_count_but_are_skipped():
    lines = ['# clips', 'a.mp4 2', '', '  b c.mp4 ', ' # d.mp4']
    assert list(read_lines(lines)) == [('a.mp4', 2, 2), ('b c.mp4', -1, 4)]


@pytest.mark.parametrize('line', ['b c.mp4 1', '# clips', 'b.mp4 two', 'b.mp4  1'])
def test_a_line_that_video_dataset_cannot_read_is_found_below_data_root(tmp_path, line):
    (tmp_path / 'list.txt').write_text(f'a.mp4\nb.mp4 -1\n{line}\n')
    config = dict(type='mmaction.VideoDataset', ann_file='list.txt', data_root=str(tmp_path))
    found = bad_line(config)
    assert f"list.txt, line 3: '{line}' is not" in found
    assert "set type='ClipListDataset'" in found
    assert bad_line(dict(config, type='ClipListDataset')) is None
    assert bad_line(dict(config, multi_class=True)) is None


def test_lists_that_are_fine_or_unreadable_or_no_text_are_not_blamed(tmp_path):
    config = dict(type='mmaction.VideoDataset', ann_file='list.txt', data_root=str(tmp_path))
    assert bad_line(config) is None
    (tmp_path / 'list.txt').write_text('a.mp4 0\nb.mp4\n')
    assert bad_line(config) is None
    (tmp_path / 'list.txt').write_bytes(b'a b c\n\xff\xfe')
    assert bad_line(config) is None
    (tmp_path / 'list.json').write_text('{"a b": 1}\n')
    assert bad_line(dict(type='mmpretrain.CustomDataset', ann_file='list.json')) is None


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'deep' / 'er').mkdir(parents=True)
    for name in ('b.MP4', 'deep/er/a.webm', 'deep/c d.avi', 'notes.txt'):
        (tmp_path / name).touch()
    return tmp_path


def test_list_with_and_without_labels(folder):
    (folder / 'list.txt').write_text('# clips\nb.MP4 2\n\n  deep/c d.avi\n')
    dataset = DATASETS.build(
        dict(
            type='ClipListDataset',
            ann_file='list.txt',
            data_root=str(folder),
            data_prefix=dict(video=''),
            pipeline=[],
        )
    )
    infos = [dataset.get_data_info(n) for n in range(len(dataset))]
    assert [info['filename'] for info in infos] == [
        str(folder / 'b.MP4'),
        str(folder / 'deep/c d.avi'),
    ]
    assert [info['label'] for info in infos] == [2, -1]
    assert infos[0]['modality'] == 'RGB'


def test_list_names_the_missing_video(folder):
    (folder / 'list.txt').write_text('\nb.MP4\ngone.mp4\n')
    arguments = dict(ann_file='list.txt', data_root=str(folder), pipeline=[])
    with pytest.raises(FileNotFoundError, match=r'list\.txt, line 3: the file .*gone\.mp4'):
        ClipListDataset(**arguments)
    assert len(ClipListDataset(**arguments, check_files=False)) == 2


def test_list_must_exist_and_name_a_video(tmp_path):
    (tmp_path / 'list.txt').write_text('# nothing\n\n')
    with pytest.raises(ValueError, match=r'list\.txt names no video'):
        ClipListDataset(str(tmp_path / 'list.txt'), pipeline=[])
    with pytest.raises(FileNotFoundError, match=r'docs/data\.md'):
        ClipListDataset(str(tmp_path / 'other.txt'), pipeline=[])


def test_folder_is_searched_deeply_and_in_order(folder):
    dataset = DATASETS.build(dict(type='VideoFolder', folder=str(folder), pipeline=[]))
    found = [dataset.get_data_info(n)['filename'] for n in range(len(dataset))]
    assert found == [str(folder / name) for name in ('b.MP4', 'deep/c d.avi', 'deep/er/a.webm')]
    only = VideoFolder(folder='deep', pipeline=[], extensions=('.avi',), data_root=str(folder))
    assert len(only) == 1


def test_empty_and_missing_folders(folder, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'empty holds no video.*\.mp4'):
        VideoFolder(str(tmp_path / 'empty'), pipeline=[])
    with pytest.raises(FileNotFoundError, match=r'folder=.*does not exist.*docs/data\.md'):
        VideoFolder(str(tmp_path / 'gone'), pipeline=[])
