from pathlib import Path

import pytest
from permissions import as_ordinary_user
from PIL import Image

from nextvid_mm.datasets.video_lists import (
    ClipListDataset,
    VideoFolder,
    misread_line,
)
from nextvid_mm.registry import DATASETS


@pytest.mark.parametrize(
    ('content', 'line', 'fault'),
    [
        (b'a.mp4 1\nb c.mp4 1\n', 2, 'is not "path label"'),
        (b'a.mp4\n# clips\n', 2, 'is not "path label"'),
        (b'a.mp4 two\n', 1, 'is not "path label"'),
        (b'a.mp4  1\n', 1, 'is not "path label"'),
        (b'\xef\xbb\xbfa.mp4 1\n', 1, 'begins with a byte-order mark'),
        (b'a.mp4 1\n\n', 2, 'is blank'),
        (b'a.mp4 -1\n', 1, 'has a label below 0'),
        (b'a.mp4\t1\n', 1, 'has no label, because of a tab or comma'),
        (b'a.mp4,1\n', 1, 'has no label, because of a tab or comma'),
        (b'', 1, 'is missing: the list is empty'),
        ('a.mp4 1'.encode('utf-16'), 1, 'is not UTF-8'),
    ],
)
def test_what_video_dataset_would_misread_is_said(tmp_path, content, line, fault):
    (tmp_path / 'list.txt').write_bytes(content)
    config = dict(type='mmaction.VideoDataset', ann_file='list.txt', data_root=str(tmp_path))
    found = misread_line(config)
    assert f'list.txt, line {line}: ' in found
    assert fault in found
    assert "set type='ClipListDataset'" in found
    assert misread_line(dict(config, type='ClipListDataset')) is None
    assert misread_line(dict(config, multi_class=True)) is None


def test_lists_that_are_fine_or_missing_or_no_text_are_not_blamed(tmp_path):
    config = dict(type='mmaction.VideoDataset', ann_file='list.txt', data_root=str(tmp_path))
    assert misread_line(config) is None
    (tmp_path / 'list.txt').write_text('a.mp4 0\nb.mp4\n')
    assert misread_line(config) is None
    (tmp_path / 'list.json').write_text('{"a b": 1}\n')
    assert misread_line(dict(type='mmpretrain.CustomDataset', ann_file='list.json')) is None


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
        ClipListDataset(**arguments, check_files=True)
    assert len(ClipListDataset(**arguments)) == 2


def test_a_folder_without_any_of_the_videos_is_noticed_at_start(folder):
    (folder / 'list.txt').write_text(''.join(f'gone{n}.mp4\n' for n in range(100)))
    with pytest.raises(FileNotFoundError, match=r'list\.txt, line 1: .*gone0\.mp4 does not exist'):
        ClipListDataset(ann_file='list.txt', data_root=str(folder), pipeline=[])


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


def test_a_folder_that_may_not_be_read_is_named(folder):
    (folder / 'deep' / 'er').chmod(0)
    try:
        with as_ordinary_user(), pytest.raises(PermissionError, match=r'no permission.*deep/er'):
            VideoFolder(str(folder), pipeline=[])
    finally:
        (folder / 'deep' / 'er').chmod(0o755)


def test_animations_are_videos_and_pictures_are_not(tmp_path):
    pictures = [Image.new('RGB', (8, 8), (n, 0, 0)) for n in (0, 99)]
    pictures[0].save(tmp_path / 'moves.webp', save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / 'moves.gif', save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / 'still.webp')
    dataset = VideoFolder(str(tmp_path), pipeline=[])
    found = [Path(dataset.get_data_info(n)['filename']).name for n in range(len(dataset))]
    assert found == ['moves.gif', 'moves.webp']


def test_a_part_of_a_video_needs_a_sampler_that_knows_of_parts(tmp_path):
    """Others would take clips from anywhere in the file, and nobody would notice."""
    (tmp_path / 'list.csv').write_text('path,start,end\na.mp4,,\na.mp4,1,2\n')
    steps = [dict(type='VideoInit'), dict(type='mmaction.SampleFrames', clip_len=4)]
    settings = dict(ann_file=str(tmp_path / 'list.csv'), data_prefix=dict(video='s3://b'))
    dataset = ClipListDataset(**settings, pipeline=steps)
    assert dataset.get_data_info(0)['filename'] == 's3://b/a.mp4'
    with pytest.raises(ValueError, match=r'line 3: s3://b/a.mp4#t=1,2 is a part .*SampleFrames'):
        dataset.get_data_info(1)
    steps[1] = dict(type='SampleClipByTime', fps=4, num_frames=4)
    assert ClipListDataset(**settings, pipeline=steps).get_data_info(1)['segment'] == (1.0, 2.0)
