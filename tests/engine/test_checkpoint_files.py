"""Complete or absent: atomic writing, and finding the newest undamaged file."""

import os

import pytest
import torch

from nextvid_mm.engine.checkpoint_files import (
    AtomicLocalBackend,
    damage,
    list_checkpoints,
    newest_good,
)

NAME = 'iter_{}.pth'


@pytest.fixture
def checkpoints(tmp_path):
    """Three checkpoints, one second apart; ``last_checkpoint`` names the third."""
    for number in (10, 20, 30):
        path = tmp_path / NAME.format(number)
        torch.save(dict(weight=torch.full((500,), float(number))), path)
        os.utime(path, (number, number))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / NAME.format(30)))
    (tmp_path / 'best_acc_iter_40.pth').write_bytes(b'')
    return tmp_path


def flip_bit(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((2,), 30.0).numpy().tobytes())] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-200])


def empty(path):
    path.write_bytes(b'')


def overwrite(path):
    path.write_bytes(b'\0' * path.stat().st_size)


@pytest.mark.parametrize('harm', [flip_bit, truncate, empty, overwrite, os.unlink])
def test_the_newest_good_one_is_taken(checkpoints, harm):
    last = checkpoints / NAME.format(30)
    assert newest_good(checkpoints, NAME) == (last, [])
    assert damage(last) is None
    harm(last)
    assert damage(last)
    path, damaged = newest_good(checkpoints, NAME)
    assert path.name == 'iter_20.pth'
    assert len(damaged) == 1
    assert str(last) in damaged[0]


def test_last_checkpoint_wins_over_files_of_an_earlier_run(checkpoints):
    (checkpoints / 'last_checkpoint').write_text('/moved/elsewhere/iter_10.pth')
    assert newest_good(checkpoints, NAME)[0].name == 'iter_10.pth'


def test_none_is_good(tmp_path):
    assert newest_good(tmp_path, NAME) == (None, [])
    (tmp_path / NAME.format(1)).write_bytes(b'PK')
    path, damaged = newest_good(tmp_path, NAME)
    assert path is None
    assert len(damaged) == 1


def test_listing_ignores_other_names_and_sorts_by_age(checkpoints):
    names = [path.name for path in list_checkpoints(checkpoints, NAME)]
    assert names == ['iter_30.pth', 'iter_20.pth', 'iter_10.pth']


def test_files_of_the_format_before_zip_pass(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(dict(a=1), path, _use_new_zipfile_serialization=False)
    assert damage(path) is None


def test_writing_replaces_the_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'sub' / 'a.pth'
    backend = AtomicLocalBackend()
    for content in (b'first', b'second'):
        backend.put(content, path)
        assert path.read_bytes() == content
    backend.put_text('third', path)
    assert path.read_text() == 'third'
    assert os.listdir(path.parent) == ['a.pth']
