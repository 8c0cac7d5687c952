"""Complete or absent, whatever happens in the middle; readable for whom the umask allows."""

import errno
import itertools
import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from safetensors.torch import save_file

from nextvid_mm.files import (
    BlockCache,
    ReadTimeoutError,
    append_line,
    replace_when_complete,
    save_picture,
    write_text,
)


def _fail_in_the_middle(path):
    with replace_when_complete(path) as temporary:
        temporary.write_text('half of the sec')
        raise RuntimeError('in the middle')


def test_a_file_is_complete_or_as_it_was(tmp_path):
    path = tmp_path / 'folder' / 'file.txt'
    write_text(path, 'first')
    with pytest.raises(RuntimeError, match='in the middle'):
        _fail_in_the_middle(path)
    assert path.read_text() == 'first'
    assert [p.name for p in path.parent.iterdir()] == ['file.txt']


@pytest.mark.parametrize('where', ['fsync', 'replace'])
def test_a_full_disk_leaves_the_previous_file(tmp_path, monkeypatch, where):
    path = tmp_path / 'a.txt'
    write_text(path, 'first')

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, where, full)
    with pytest.raises(OSError, match='No space'):
        write_text(path, 'second')
    assert path.read_text() == 'first'
    assert os.listdir(tmp_path) == ['a.txt']


def test_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    for name in ('fsync', 'replace'):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, f=real: (calls.append(n), f(*a)))
    write_text(tmp_path / 'a', 'x')
    assert calls == ['fsync', 'replace', 'fsync']  # the file, its name, the folder
    with replace_when_complete(tmp_path / 'b', durable=False) as temporary:
        temporary.touch()
    assert calls[3:] == ['replace']


@pytest.mark.parametrize(('umask', 'mode'), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask_also_where_the_writer_hides_its_files(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with replace_when_complete(tmp_path / 'a.safetensors') as temporary:
            save_file(dict(w=torch.ones(1)), temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / 'a.safetensors').stat().st_mode) == mode


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / 'a.txt'
    with replace_when_complete(path) as one, replace_when_complete(path) as two:
        one.write_text('one')
        two.write_text('two')
    assert path.read_text() == 'one'  # renamed last
    assert os.listdir(tmp_path) == ['a.txt']


@pytest.fixture
def small_disk(tmp_path):
    """A file system of one megabyte."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    command = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', str(folder)]
    try:
        made = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        made = False
    if not made:
        pytest.skip('file systems cannot be mounted here')
    yield folder
    subprocess.run(['umount', '-l', str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_and_nothing_else(small_disk):
    write_text(small_disk / 'report.html', 'old')
    with pytest.raises(OSError, match='No space left'):
        write_text(small_disk / 'report.html', 'new' * 2**20)
    noise = Image.effect_noise((2000, 2000), 90)
    with pytest.raises(OSError, match='No space left'):
        save_picture(noise, small_disk / 'sheet.png')
    assert [path.name for path in small_disk.iterdir()] == ['report.html']
    assert (small_disk / 'report.html').read_text() == 'old'


def test_pictures_and_figures_are_saved_by_their_ending(tmp_path):
    save_picture(Image.new('RGB', (4, 4)), tmp_path / 'a.png')
    save_picture(Figure(), tmp_path / 'b.png', dpi=10)
    assert [Image.open(tmp_path / name).format for name in ('a.png', 'b.png')] == ['PNG', 'PNG']


@pytest.mark.parametrize('before', ['', 'one\n', 'one\ntwo\nthr', 'on'])
def test_a_line_that_was_cut_is_taken_out_before_the_next(tmp_path, before):
    path = tmp_path / 'trace.jsonl'
    path.write_text(before)
    append_line(path, 'nächste')
    append_line(path, 'last')
    whole = [line for line in before.splitlines(keepends=True) if line.endswith('\n')]
    assert path.read_text(encoding='utf-8') == ''.join(whole) + 'nächste\nlast\n'


def test_a_cache_of_blocks_deletes_those_not_used_for_longest(tmp_path):
    cache = BlockCache(tmp_path / 'cache', limit=1000)
    for number in range(10):
        cache.put(str(number), bytes([number]) * 100)
    clock = itertools.count(1_000_000)
    for number in (4, 5, 6, 7, 8, 9, 0, 1, 2, 3):
        os.utime(cache._file(str(number)), (next(clock),) * 2)
    assert cache.get('4', 100) == bytes([4]) * 100  # the newest now
    assert cache.get('4', 99) is None
    cache.put('10', b'x' * 100)
    there = [number for number in range(11) if cache.get(str(number), 100)]
    assert there == [0, 1, 2, 3, 4, 7, 8, 9, 10], '90 % of the limit'


def test_a_cache_of_blocks_is_seldom_looked_through(tmp_path, monkeypatch):
    looks, tidy = [], BlockCache._tidy
    monkeypatch.setattr(BlockCache, '_tidy', lambda self: looks.append(1) or tidy(self))
    cache = BlockCache(tmp_path, limit=100_000)
    for number in range(1000):
        cache.put(str(number), b'x' * 200)
    assert len(looks) == 1 + 999 // 10
    sizes = [file.stat().st_size for file in tmp_path.rglob('*.block')]
    assert 90_000 <= sum(sizes) <= 102_000


def test_a_cache_of_blocks_does_without_a_disk_but_not_without_signals(tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('no folder')
    cache = BlockCache(tmp_path / 'file', limit=1000)
    cache.put('a', b'x')
    assert cache.get('a', 1) is None

    def stopped(*args, **kwargs):
        raise ReadTimeoutError('the run was to end')

    for name in ('read_bytes', 'write_bytes'):
        monkeypatch.setattr(Path, name, stopped)
    cache = BlockCache(tmp_path / 'cache', limit=1000)
    with pytest.raises(ReadTimeoutError):
        cache.get('a', 1)
    with pytest.raises(ReadTimeoutError):
        cache.put('a', b'x')
