"""Lists of any length and kind: read once, mapped by everybody, made again when they change."""

import math
import multiprocessing
import os
import pickle
import random
from pathlib import Path

import pytest
from range_server import serve

from nextvid_mm.datasets import list_index
from nextvid_mm.datasets.list_index import FOLDER, ClipList, open_list
from nextvid_mm.datasets.video.files import format_line, parse_list
from nextvid_mm.datasets.video_lists import ClipListDataset
from nextvid_mm.storage import Storage


@pytest.fixture
def indexed(monkeypatch):
    """Every list is long enough for an index."""
    monkeypatch.setattr(list_index, 'SMALLEST_INDEXED', 0)


def _write(path, count=1000, seed=0):
    rng = random.Random(seed)
    lines = [format_line(f'dir {n % 7}/é clip {n}.mp4', rng.randrange(400)) for n in range(count)]
    path.write_text('# a comment\n' + '\n'.join(lines) + '\n', encoding='utf-8')
    return path


def test_an_index_says_what_the_parser_says(tmp_path, indexed, monkeypatch):
    monkeypatch.setattr(list_index, '_BLOCK', 64)
    path = _write(tmp_path / 'list.txt')
    found = open_list(path, '/videos')
    plain = parse_list(path.read_bytes(), 'list')
    assert len(found) == len(plain) == 1000
    for place in (0, 1, 63, 64, 65, 999, -1):
        info = found[place]
        assert info['filename'] == f'/videos/{plain[place].path}'
        assert (info['label'], info['line']) == (plain[place].label, plain[place].line)
        assert 'segment' not in info
    assert found.labels.tolist() == [file.label for file in plain]
    assert [info['filename'] for info in found[10:13]] == [
        f'/videos/{p.path}' for p in plain[10:13]
    ]
    assert found[5:][2:][0] == found[7]
    with pytest.raises(IndexError):
        found[1000]


def test_a_short_list_leaves_nothing_behind(tmp_path):
    path = _write(tmp_path / 'list.txt')
    assert len(open_list(path)) == 1000
    assert os.listdir(tmp_path) == ['list.txt']


def test_it_is_made_once_and_again_when_the_list_changes(tmp_path, indexed, monkeypatch):
    path = _write(tmp_path / 'list.txt')
    old = open_list(path)
    (folder,) = (tmp_path / FOLDER).glob('list.txt-*')
    with monkeypatch.context() as patched:
        patched.setattr(list_index, 'read_entries', None)  # must not be called
        assert open_list(path)[3] == old[3]
    _write(path, 20, seed=1)
    assert len(open_list(path)) == 20
    assert not folder.exists()
    assert old[999]['line'] == 1001  # still mapped


def test_a_read_only_share_has_its_index_in_the_cache(tmp_path, indexed, monkeypatch):
    paths = [_write(tmp_path / name / 'list.txt', 5 + place)
             for place, name in enumerate(('a', 'b')) if not (tmp_path / name).mkdir()]  # fmt: skip
    monkeypatch.setattr(list_index.os, 'access', lambda *_: False)
    monkeypatch.setattr(list_index, 'user_cache_path', lambda name: tmp_path / 'cache' / name)
    assert [len(open_list(path)) for path in paths] == [5, 6]
    assert not (tmp_path / 'a' / FOLDER).exists()
    assert len(list((tmp_path / 'cache').rglob('list.txt-*/ends'))) == 2


def test_where_no_index_can_be_written_the_list_is_read(tmp_path, indexed, monkeypatch, capfd):
    path = _write(tmp_path / 'list.txt', 5)
    monkeypatch.setattr(list_index.os, 'access', lambda *_: False)
    (tmp_path / 'file').touch()
    monkeypatch.setattr(list_index, 'user_cache_path', lambda name: tmp_path / 'file' / name)
    assert [info['line'] for info in open_list(path)] == [2, 3, 4, 5, 6]
    assert 'list.txt: no index can be written' in ''.join(capfd.readouterr())


def _open_in_child(path, queue):
    list_index.SMALLEST_INDEXED = 0
    queue.put(len(open_list(path)))


def test_processes_that_come_at_once_share_one(tmp_path):
    path = _write(tmp_path / 'list.txt', 20_000)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    children = [context.Process(target=_open_in_child, args=(path, queue)) for _ in range(3)]
    for child in children:
        child.start()
    assert [queue.get(timeout=60) for _ in children] == [20_000] * 3
    for child in children:
        child.join()
    assert sorted(p.suffix for p in (tmp_path / FOLDER).iterdir() if p.is_dir()).count('.tmp') == 0
    assert len([p for p in (tmp_path / FOLDER).iterdir() if p.is_dir()]) == 1


def test_a_mistake_leaves_no_half_index(tmp_path, indexed):
    path = tmp_path / 'list.txt'
    path.write_bytes(b'a.mp4\n' * 100 + b'\xff\xfe.mp4\n')
    with pytest.raises(ValueError, match=r'list\.txt, line 101: .* is not UTF-8'):
        open_list(path)
    assert not [p for p in (tmp_path / FOLDER).iterdir() if p.is_dir()]


def test_other_processes_map_it_instead_of_getting_a_copy(tmp_path, indexed):
    found = open_list(_write(tmp_path / 'list.txt', 5000))
    data = pickle.dumps(found)
    assert len(data) < 1000
    assert pickle.loads(data)[4321] == found[4321]


def test_it_is_small_in_memory(tmp_path, indexed):
    found = open_list(_write(tmp_path / 'list.txt', 100))
    assert not any(column.flags.owndata for column in found.columns.values())


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
@pytest.mark.parametrize('size', [1, 2, 3, 5, 1 << 22])
def test_lines_end_alike_wherever_a_block_does(tmp_path, monkeypatch, end, size):
    path = tmp_path / 'list.txt'
    path.write_bytes(f'\ufeffa b.mp4 1{end}{end}# no{end}c.mp4'.encode())
    read = type(path.open('rb')).read
    file = path.open('rb')

    class Blocks:
        def read(self, count):
            return read(file, min(count, size) if count > 3 else count)

    from nextvid_mm.datasets.video.files import iterate_list

    found = [(f.path, f.label, f.line) for f in iterate_list(Blocks(), 'list')]
    assert found == [('a b.mp4', 1, 1), ('c.mp4', -1, 4)]


def test_a_list_behind_an_address_has_its_index_in_the_cache(tmp_path, indexed, monkeypatch):
    pytest.importorskip('aiohttp')
    monkeypatch.setattr(list_index, 'user_cache_path', lambda name: tmp_path / 'cache' / name)
    (tmp_path / 'web').mkdir()
    path = _write(tmp_path / 'web' / 'list.txt')
    with serve(tmp_path / 'web') as (address, faults):
        signed = f'{address}/list.txt?X-Signature=hidden'
        faults.fail = 2
        assert len(open_list(signed, address)) == 1000
        with monkeypatch.context() as patched:
            patched.setattr(list_index, 'read_entries', lambda *_: 1 / 0)
            assert open_list(signed, address)[3]['filename'].startswith(f'{address}/dir 3/')
        _write(path, 20)
        assert len(open_list(signed)) == 20
        faults.fail = 10_000
        with pytest.raises(OSError, match=r'list.txt: not fetched in .*503') as error:
            open_list(signed, storage=Storage(patience=0.2))
    assert 'hidden' not in str(error.value)
    names = [str(path) for path in (tmp_path / 'cache').rglob('*')]
    assert len([name for name in names if name.endswith('ends')]) == 1
    assert not any('hidden' in name for name in names)


def test_a_list_that_nothing_tells_from_the_next_is_read_each_time(indexed):
    import fsspec

    for count in (1, 2):
        with fsspec.open('memory://lists/b.txt', 'wb') as file:
            file.write(b'a.mp4\n' * count)
        assert len(open_list('memory://lists/b.txt')) == count


# -- tables -----------------------------------------------------------------------------------


def _table(path, columns):
    if path.suffix == '.parquet':
        parquet = pytest.importorskip('pyarrow.parquet')
        import pyarrow

        parquet.write_table(pyarrow.table(columns), path)
        return path
    mark = '\t' if path.suffix == '.tsv' else ','
    rows = zip(*columns.values(), strict=True)
    text = [mark.join(columns)] + [
        mark.join('' if value is None else f'"{value}"' for value in row) for row in rows
    ]
    path.write_text('\n'.join(text), encoding='utf-8')
    return path


KINDS = pytest.mark.parametrize('kind', ['.csv', '.tsv', '.parquet'])


@KINDS
@pytest.mark.parametrize('smallest', [0, 1 << 20], ids=['indexed', 'in memory'])
def test_a_table_says_which_part_of_a_video(tmp_path, monkeypatch, kind, smallest):
    monkeypatch.setattr(list_index, 'SMALLEST_INDEXED', smallest)
    columns = dict(
        path=['long, video.mp4', 'long, video.mp4', 'b.mp4'],
        start=[0.5, None, None],
        end=[2.0, 3.0, None],
        caption=['one', 'two', 'three'],
        label=[3, 4, None],
    )
    found = open_list(_table(tmp_path / f'list{kind}', columns), '/videos')
    assert [info['filename'] for info in found] == [
        '/videos/long, video.mp4', '/videos/long, video.mp4', '/videos/b.mp4',
    ]  # fmt: skip
    assert [info.get('segment') for info in found] == [(0.5, 2.0), (0.0, 3.0), None]
    assert found.labels.tolist() == [3, 4, -1]


@KINDS
def test_columns_may_have_other_names(tmp_path, kind):
    path = _table(tmp_path / f'list{kind}', dict(url=['a.mp4'], t0=[1.0]))
    found = open_list(path, columns=dict(path='url', start='t0'))
    assert found[0]['filename'] == 'a.mp4'
    assert found[0]['segment'] == (1.0, None)


def test_two_readings_of_one_table_leave_each_other_alone(tmp_path, indexed, monkeypatch):
    path = _table(tmp_path / 'list.csv', dict(path=['a.mp4'], one=[1], two=[2]))
    names = [dict(label='one'), dict(label='two'), None]
    found = [open_list(path, columns=columns) for columns in names]
    with monkeypatch.context() as patched:
        patched.setattr(list_index, 'read_entries', lambda *_: 1 / 0)
        again = [open_list(path, columns=columns) for columns in names]
    for lists in (found, again, [pickle.loads(pickle.dumps(clips)) for clips in found]):
        assert [clips[0]['label'] for clips in lists] == [1, 2, -1]
    _table(path, dict(path=['a.mp4', 'b.mp4'], one=[3, 3], two=[4, 4]))
    assert [open_list(path, columns=columns)[1]['label'] for columns in names] == [3, 4, -1]
    assert len([p for p in (tmp_path / FOLDER).iterdir() if p.is_dir()]) == 3


@KINDS
@pytest.mark.parametrize(
    ('columns', 'message'),
    [
        (dict(video=['a.mp4']), r"has no column 'path', but video: name the one with paths"),
        (dict(path=['a.mp4', 'b.mp4'], start=[0.0, 5.0], end=[1.0, 4.0]),
         r'line \d: start=5 and end=4 are no part of a video: b.mp4'),
        (dict(path=['a.mp4'], start=[-1.0]), r'line \d: start=-1 and end=nan are no part'),
        (dict(path=['a.mp4'], start=[math.inf]), r'line \d: start=inf and end=nan are no part'),
        (dict(path=['a.mp4'], start=['soon']), r"line \d: start='soon' is no number of seconds"),
        (dict(path=['a.mp4'], label=['cat']), r"line \d: label='cat' is no whole number"),
        (dict(path=[None], label=[1]), r'line \d: .* is no path'),
        (dict(path=[]), 'names no video'),
    ],
)  # fmt: skip
def test_mistakes_in_tables_name_the_row(tmp_path, kind, columns, message):
    with pytest.raises(ValueError, match=rf'list\{kind}.*{message}'):
        open_list(_table(tmp_path / f'list{kind}', columns))


# -- as a data set ----------------------------------------------------------------------------


def test_a_data_set_takes_subsets_and_its_labels(tmp_path, indexed):
    path = _write(tmp_path / 'list.txt', 50)
    settings = dict(ann_file=str(path), data_prefix=dict(video='s3://bucket/videos'), pipeline=[])
    dataset = ClipListDataset(**settings)
    assert len(dataset) == 50
    info = dataset.get_data_info(-1)
    assert info['filename'] == 's3://bucket/videos/dir 0/é clip 49.mp4'
    assert (info['sample_idx'], info['modality']) == (49, 'RGB')
    assert isinstance(dataset.data_list, ClipList)
    few = ClipListDataset(**settings, indices=3)
    assert len(few) == 3
    assert few.get_data_info(2)['line'] == 4
    some = ClipListDataset(**settings, indices=[7, 4])
    assert [some.get_data_info(n)['line'] for n in range(2)] == [9, 6]
    assert len(dataset.get_subset([1, 2])) == 2


def test_addresses_in_a_list_stay_addresses(tmp_path):
    (tmp_path / 'list.txt').write_text('https://host/a.mp4 1\nb.mp4 2\n')
    found = open_list(tmp_path / 'list.txt', '/videos')
    assert [info['filename'] for info in found] == ['https://host/a.mp4', '/videos/b.mp4']
    assert open_list(tmp_path / 'list.txt', 'memory://x/')[1]['filename'] == 'memory://x/b.mp4'


def test_the_list_itself_may_be_anywhere(tmp_path):
    import fsspec

    with fsspec.open('memory://lists/list.txt', 'wb') as file:
        file.write(b'a.mp4 1\n')
    assert open_list('memory://lists/list.txt')[0]['label'] == 1
    with pytest.raises(FileNotFoundError):
        open_list('memory://lists/gone.txt')
    with pytest.raises(FileNotFoundError):
        open_list(Path(tmp_path, 'gone.txt'))
