from pathlib import Path

import pytest
from clips import write_clip
from permissions import as_ordinary_user

from nextvid_mm.datasets import scan


def test_flags(parse):
    for flag in ('--root', '--folder'):
        assert parse('scan_dataset', 'list.txt', flag, 'videos').root == 'videos'


@pytest.mark.parametrize('flag', ['--workers', '--timeout', '--min-frames'])
def test_numbers_are_positive(call, capsys, flag):
    assert call('scan_dataset', 'list.txt', flag, 0) == 2
    assert f'argument {flag}: 0 must be a whole number of at least 1' in capsys.readouterr().err
    assert call('scan_dataset', 'list.txt', flag, 'x') == 2
    assert f'argument {flag}: x must be a whole number of at least 1' in capsys.readouterr().err


def test_what_is_not_there_is_one_line(call):
    assert call('scan_dataset', 'absent').startswith('scan_dataset: error: absent: no such list')


@pytest.mark.parametrize(
    ('source', 'place'),
    [('.', '{}.folder'), ('videos/..', '{}.folder'), ('videos/', '{}/videos.folder'),
     ('link', '{}/link.folder'), ('k400.train', '{}/k400.train.folder')],
)  # fmt: skip
def test_the_lists_of_a_folder_lie_beside_it(call, tmp_path, source, place):
    for name in ('videos', 'k400.train'):
        (tmp_path / name).mkdir()
        write_clip(tmp_path / name / 'a.mp4')
    (tmp_path / 'far').mkdir()
    (tmp_path / 'link').symlink_to('far')
    write_clip(tmp_path / 'far/a.mp4')
    assert call('scan_dataset', source, '--workers', 1) == 0
    clean = Path(f'{place.format(tmp_path)}.clean.txt')
    assert 'a.mp4' in clean.read_text()
    assert clean.with_name(clean.name.replace('.clean.', '.bad.')).exists()


@pytest.mark.parametrize(
    ('name', 'clean'),
    [('list.txt', 'list.clean.txt'), ('k400.val', 'k400.val.clean.txt'),
     ('list.csv', 'list.clean.csv')],
)  # fmt: skip
def test_the_lists_of_a_list_lie_beside_it(call, tmp_path, name, clean):
    write_clip(tmp_path / 'a.mp4')
    (tmp_path / name).write_text('path\na.mp4\n' if name.endswith('csv') else 'a.mp4\n')
    assert call('scan_dataset', name, '--root', tmp_path, '--workers', 1) == 0
    assert 'a.mp4' in (tmp_path / clean).read_text()


def test_what_cannot_be_written_is_said_before_the_scan(call, tmp_path, monkeypatch):
    monkeypatch.setattr(scan, 'scan', lambda *_: pytest.fail('it looks at files'))
    videos = tmp_path / 'mount/videos'
    videos.mkdir(parents=True)
    write_clip(videos / 'a.mp4')
    videos.parent.chmod(0o555)
    with as_ordinary_user():
        message = call('scan_dataset', videos, '--workers', 1)
    assert message == (
        f'scan_dataset: error: {videos}.folder.clean.txt cannot be written (Permission denied): '
        'choose other names with --out'
    )
    (tmp_path / 'mine.bad.txt').mkdir()
    message = call('scan_dataset', videos, '--workers', 1, '--out', 'mine')
    assert 'mine.bad.txt cannot be written (it is a folder): choose other names' in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ['mine.bad.txt', 'mount']
