"""Entries of lists and tables: what they say of a file, a part of a video, a file in a tar file."""

import math
import sys

import pytest

from nextvid_mm.data_checks import on_disk, path_of
from nextvid_mm.datasets.listed_clips import ListedClip, read_entries, write_rows


def _read(path, columns=None):
    return list(read_entries(str(path), columns))


def test_an_entry_tells_its_part_and_its_name():
    whole = ListedClip('a b.mp4', 3, 7)
    assert (whole.segment, whole.part, str(whole)) == (None, None, 'a b.mp4')
    assert whole.info() == dict(filename='a b.mp4', label=3, line=7)
    part = ListedClip('/v/a.mp4', start=61.25)
    assert (part.segment, str(part)) == ((61.25, None), '/v/a.mp4#t=61.25,')
    assert str(part._replace(start=math.nan, end=2.0)) == '/v/a.mp4#t=0,2'
    assert str(part._replace(start=3600.001)) != str(part._replace(start=3600.002))
    picture = ListedClip('x.tar::a.PNG', offset=512, size=40)
    assert picture.info()['part'] == (512, 40)
    assert picture.info()['img_path'] == 'x.tar::a.PNG'


def test_messages_and_caches_tell_parts_apart_and_the_disk_does_not():
    one, two = (ListedClip('/v/a.mp4', start=float(n), end=n + 1.0).info() for n in range(2))
    assert path_of(one) == '/v/a.mp4#t=0,1'
    assert path_of(two) == '/v/a.mp4#t=1,2'
    assert on_disk(one) == on_disk(two) == '/v/a.mp4'


def test_paths_are_below_a_folder_or_an_address():
    clip = ListedClip('a.mp4', 1, 2, 0.5)
    assert clip.below('/v') == clip._replace(path='/v/a.mp4')
    assert clip.below('s3://b/v/').path == 's3://b/v/a.mp4'
    assert ListedClip('s3://b/a.mp4').below('/v').path == 's3://b/a.mp4'
    assert clip.below('').path == 'a.mp4'


@pytest.mark.parametrize('kind', ['.csv', '.tsv', '.parquet'])
def test_some_rows_are_written_as_they_are(tmp_path, kind):
    path, target = tmp_path / f'list{kind}', tmp_path / f'some{kind}'
    captions = ['plain', 'a, b', 'two\nlines', '"quoted"', 'é']
    columns = dict(path=[f'{n}.mp4' for n in range(5)], caption=captions, start=[0.0] * 5)
    if kind == '.parquet':
        parquet = pytest.importorskip('pyarrow.parquet')
        import pyarrow

        parquet.write_table(pyarrow.table(columns), path)
    else:
        import csv

        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, delimiter='\t' if kind == '.tsv' else ',')
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    entries = _read(path)
    write_rows(path, [entries[n].line for n in (1, 2, 4)], target)
    kept = _read(target, dict(path='caption'))
    assert [clip.path for clip in kept] == [captions[n] for n in (1, 2, 4)]
    assert [clip.path for clip in _read(target)] == ['1.mp4', '2.mp4', '4.mp4']
    assert len(list(tmp_path.iterdir())) == 2


def test_files_that_are_no_tables(tmp_path):
    pytest.importorskip('pyarrow')
    (tmp_path / 'list.parquet').write_bytes(b'no table')
    with pytest.raises(ValueError, match=r'list.parquet is no parquet file'):
        _read(tmp_path / 'list.parquet')
    (tmp_path / 'list.csv').write_bytes(b'path\n\xff.mp4\n')
    with pytest.raises(ValueError, match=r'list.csv, line \d'):
        _read(tmp_path / 'list.csv')
    (tmp_path / 'list.txt').write_text('a.mp4\n')
    with pytest.raises(ValueError, match=r'columns=.* is for .csv, .tsv, .parquet, found'):
        _read(tmp_path / 'list.txt', columns=dict(path='url'))
    with pytest.raises(ValueError, match=r"\['pth'\] are none of path, label, start, end"):
        _read(tmp_path / 'list.csv', columns=dict(pth='url'))


@pytest.mark.parametrize('kind', ['.csv', '.tsv', '.parquet'])
@pytest.mark.parametrize(('key', 'name'), [('start', 'begin'), ('label', 'clas'), ('end', 'end')])
def test_a_column_that_is_named_must_be_there(tmp_path, kind, key, name):
    path, right = tmp_path / f'list{kind}', dict(start='begin_s', label='class')
    if kind == '.parquet':
        parquet = pytest.importorskip('pyarrow.parquet')
        import pyarrow

        columns = {'path': ['a.mp4'], 'begin_s': [1.0], 'class': [3]}
        parquet.write_table(pyarrow.table(columns), path)
    else:
        text = 'path,begin_s,class\na.mp4,1.0,3\n'
        path.write_text(text.replace(',', '\t') if kind == '.tsv' else text)
    found = rf"list\{kind} has no column '{name}', but path, begin_s, class: columns=dict\({key}="
    with pytest.raises(ValueError, match=found):
        _read(path, dict(right, **{key: name}))
    (entry,) = _read(path, right)
    assert (entry.start, entry.label) == (1.0, 3)


def test_a_table_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    (tmp_path / 'list.parquet').write_bytes(b'PAR1')
    with pytest.raises(ImportError, match='pip install pyarrow'):
        list(read_entries(str(tmp_path / 'list.parquet')))


def test_entries_without_bounds_are_whole_files(tmp_path):
    (tmp_path / 'list.txt').write_text('a.mp4\n')
    (entry,) = read_entries(str(tmp_path / 'list.txt'))
    assert math.isnan(entry.start)
    assert math.isnan(entry.end)


@pytest.mark.parametrize('name', ['a.tar', 'a.tar.gz', 'b.TGZ', 's3://bucket/a.tar?X=hidden'])
def test_a_tar_file_without_its_index_is_no_list(name):
    with pytest.raises(ValueError, match=r'is a tar file, not a list: .*--index .*--out') as error:
        _read(name)
    assert 'hidden' not in str(error.value)


@pytest.mark.parametrize('name', ['a.tar.csv', 'a.tar.txt'])
def test_a_list_may_be_called_after_a_tar_file(tmp_path, name):
    (tmp_path / name).write_text('path\nb.mp4\n')
    assert _read(tmp_path / name)[-1].path == 'b.mp4'
