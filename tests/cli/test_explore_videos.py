"""tools/explore_videos.py."""

import shutil

import pytest
from exporting import save_checkpoint
from probe_run import make_videos

from nextvid_mm.datasets.video.files import read_list


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    path = tmp_path_factory.mktemp('explore')
    make_videos(path / 'data')
    shutil.copy(path / 'data/val/3.mp4', path / 'data/val/copy of 3.mp4')
    (path / 'data/val/broken.mp4').write_text('no video')
    save_checkpoint(path / 'iter_5.pth')
    return path


def test_a_folder_and_a_clip_from_elsewhere(root, call, tmp_path, capsys):
    query = root / 'data/train/0.mp4'
    words = [root / 'iter_5.pth', root / 'data/val', '--out', 'look', '--num-frames', 4]
    words += ['--fps', 0, '--device', 'cpu', '--neighbours-of', query, '--neighbours', 2]
    words += ['--same', 0.99999]  # to an encoder that has learnt nothing, all are alike
    for _ in range(2):
        assert not call('explore_videos', *words)
    printed = capsys.readouterr().out
    assert 'not read: ' in printed
    assert 'broken.mp4' in printed
    page = (tmp_path / 'look/explore.html').read_text(encoding='utf-8')
    assert f'Nearest to {query}' in page
    (double,) = read_list(tmp_path / 'look/duplicates.txt')
    assert double.path.endswith('copy of 3.mp4')


def test_one_of_the_inputs_written_in_another_way_is_that_one(root, call, tmp_path):
    (tmp_path / 'val').symlink_to(root / 'data/val')
    words = [root / 'iter_5.pth', 'val', '--out', 'look', '--num-frames', 4, '--device', 'cpu']
    assert not call('explore_videos', *words, '--neighbours-of', './val/../val/1.mp4')
    page = (tmp_path / 'look/explore.html').read_text(encoding='utf-8')
    assert 'Nearest to val/1.mp4' in page


def test_a_list_keeps_its_labels(root, call, tmp_path):
    (root / 'last_checkpoint').write_text('iter_5.pth')
    shutil.copy(root / 'data/train.txt', root / 'TRAIN.TXT')
    words = [root, root / 'TRAIN.TXT', '--root', root / 'data/train']
    words += ['--out', 'look', '--num-frames', 4, '--device', 'cpu', '--same', 1]
    assert not call('explore_videos', *words)
    kept = read_list(tmp_path / 'look/without_duplicates.txt')
    assert [(file.path, file.label) for file in kept[:2]] == [('0.mp4', 0), ('1.mp4', 1)]


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--neighbours-of', 'gone.mp4'], '--neighbours-of gone.mp4: there is no such file'),
        (['--neighbours', 0], '--neighbours'),
        (['--clusters', -1], '--clusters'),
        (['--same', 0], '--same 0 is no cosine'),
    ],
)
def test_wrong_flags(root, call, flags, message):
    words = [root / 'iter_5.pth', root / 'data/val', '--num-frames', 4, '--out', 'look']
    assert message in call('explore_videos', *words, '--device', 'cpu', *flags)
