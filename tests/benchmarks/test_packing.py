"""Packing that is killed: a few SIGKILLs of the tool in forks; the command does many."""

import tarfile

import pytest

from benchmarks import packing
from benchmarks.stopped_tools import start as fork


def test_no_half_tar_file_is_ever_there_and_the_next_run_goes_on(tmp_path):
    source = packing.write_source(tmp_path, videos=3, seconds=4, parts=4)
    words = [str(source), '--root', str(tmp_path), '--short-side', '32', '--per-shard', '2']

    def start(flags):
        return fork(['pack_shards', *flags], tmp_path / 'log')

    _, wrong = packing.kill_and_go_on(words, tmp_path / 'out', tmp_path / 'whole', 3, 0, start)
    assert wrong == [], (tmp_path / 'log').read_text()
    tars = sorted((tmp_path / 'out').glob('*.tar'))
    assert len(tars) == 6
    for path in tars:
        with tarfile.open(path) as tar:
            assert len(tar.getnames()) == 4  # clips and labels


def test_what_is_wrong_is_found(tmp_path):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    for folder in (whole, out):
        folder.mkdir()
        (folder / 'shard-000000.tar').write_bytes(b'whole')
    assert packing.different(out, whole, complete=True) == []
    (out / 'shard-000000.tar').write_bytes(b'who')
    assert packing.different(out, whole) == ['shard-000000.tar is not that of the undisturbed run']
    (out / 'shard-000000.tar').unlink()
    (out / 'shard-000000.tar.0123.tmp').touch()
    assert packing.different(out, whole) == []
    assert len(packing.different(out, whole, complete=True)) == 2


def test_a_tool_that_fails_is_said(tmp_path):
    def start(flags):
        return fork(['pack_shards', *flags], tmp_path / 'log')

    with pytest.raises(ChildProcessError, match='the undisturbed run ended with 1'):
        packing.kill_and_go_on(['absent'], tmp_path / 'a', tmp_path / 'b', 1, 0, start)
