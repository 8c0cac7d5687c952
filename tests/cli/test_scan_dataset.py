import pytest


def test_flags(parse):
    for flag in ('--root', '--folder'):
        assert parse('scan_dataset', 'list.txt', flag, 'videos').root == 'videos'


@pytest.mark.parametrize('flag', ['--workers', '--timeout', '--min-frames'])
def test_numbers_are_positive(call, capsys, flag):
    assert call('scan_dataset', 'list.txt', flag, 0) == 2
    assert f'argument {flag}: 0 must be at least 1' in capsys.readouterr().err


def test_what_is_not_there_is_one_line(call):
    assert call('scan_dataset', 'absent').startswith('scan_dataset: error: absent: no such list')
