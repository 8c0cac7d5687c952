"""The scanner finds every kind of bad file, says what is wrong, and keeps the rest as it was."""

import json
import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import CORRUPTIONS, write_clip, write_corrupt
from permissions import as_ordinary_user
from range_server import serve

from nextvid_mm.datasets.clip_shards import TABLE, index_shards
from nextvid_mm.datasets.listed_clips import ListedClip, read_entries
from nextvid_mm.datasets.packing import pack
from nextvid_mm.datasets.scan import Entry, ScanReport, check_file, list_entries, scan
from nextvid_mm.datasets.video.decoder import Decoder

TOOL = Path(__file__).resolve().parents[2] / 'tools/scan_dataset.py'
KINDS = dict.fromkeys(CORRUPTIONS, 'undecodable') | dict(
    zero_frames='zero-frame', forbidden='permission', missing='missing', short='too short'
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, clip_folder):
    """Two good clips, one of three frames, and one file of every corruption."""
    folder = tmp_path_factory.mktemp('scan')
    good = Path(clip_folder, '0.mp4').read_bytes()
    for number in (0, 1):
        (folder / f'{number}.mp4').write_bytes(good)
    write_clip(folder / 'short.mp4', num_frames=3)
    for kind in CORRUPTIONS:
        write_corrupt(folder / f'{kind}.mp4', kind, good)
    return folder


@pytest.mark.parametrize('full', [False, True], ids=['ends', 'full'])
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_bad_file(folder, kind, full):
    with as_ordinary_user():
        finding = check_file(str(folder / f'{kind}.mp4'), full=full)
    accepted = {KINDS[kind]} | ({'undecodable'} if kind == 'zero_frames' else set())
    assert finding.kind in accepted, finding
    assert finding.reason
    assert '\n' not in finding.reason


def test_good_files_count_their_seconds(folder):
    finding = check_file(str(folder / '0.mp4'))
    assert (finding.kind, finding.reason) == ('', '')
    assert finding.seconds == pytest.approx(3.0)  # 24 frames at 8 per second
    assert check_file(str(folder / 'short.mp4'), min_frames=3).kind == ''
    assert check_file(str(folder)).reason == 'it is a folder'


def test_images(tmp_path):
    good, cut = tmp_path / 'good.jpg', tmp_path / 'cut.JPG'
    cv2.imwrite(str(good), np.random.randint(0, 255, (64, 64, 3), np.uint8))
    cut.write_bytes(good.read_bytes()[:900])
    assert check_file(str(good)).kind == ''
    assert check_file(str(cut)).kind == 'undecodable'


def test_lists_keep_their_lines_and_lose_repetitions(folder, tmp_path):
    listed = tmp_path / 'list.txt'
    lines = ['# a comment', '0.mp4 3', 'empty.mp4 1', '', '1.mp4', './0.mp4 3', '1.mp4 2']
    listed.write_text('\n'.join(lines))
    report = ScanReport()
    for entry, finding in scan(list_entries(listed, folder)[0], workers=0):
        report.add(entry, finding)
    assert [entry.text for entry in report.good] == ['0.mp4 3', '1.mp4']
    assert report.seconds == pytest.approx(6.0)
    assert report.kinds == dict(undecodable=1, duplicate=2)
    found = {entry.clip.line: finding.reason for entry, finding in report.bad}
    assert found[6] == 'same file as line 2'
    assert found[7] == 'same file as line 5, where its label is -1, not 2'
    clean, bad = report.write(tmp_path / 'out')
    assert clean.read_text() == '0.mp4 3\n1.mp4\n'
    first = bad.read_text().splitlines()[0].split('\t')
    assert first == ['3', str(folder / 'empty.mp4'), 'undecodable', 'the file is empty']


def test_names_that_are_no_text_can_be_listed(tmp_path):
    name = os.fsdecode(b'\xff.mp4')
    (tmp_path / name).write_text('no video')
    report = ScanReport()
    for entry, finding in scan(list_entries(tmp_path)[0], workers=0):
        report.add(entry, finding)
    _, bad = report.write(tmp_path / 'out')
    _, path, kind, reason = bad.read_text().split('\t')
    assert json.loads(path) == str(tmp_path / name)
    assert kind == 'undecodable'
    assert '\\udcff.mp4: cannot be opened as video' in reason


def test_a_file_that_a_server_keeps_to_itself(tmp_path):
    pytest.importorskip('aiohttp')
    with serve(tmp_path) as (address, _):
        finding = check_file(f'{address}/forbidden.mp4')
    assert finding.kind == 'permission'
    assert 'forbidden.mp4 may not be read' in finding.reason
    assert '403' in finding.reason


def test_what_cannot_be_scanned(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.txt: no such list or folder; see docs'):
        list_entries(tmp_path / 'absent.txt')
    with pytest.raises(ValueError, match='names no video or image'):
        list_entries(tmp_path)


def test_processes_give_the_same_in_the_same_order(folder):
    entries, _ = list_entries(folder)
    with as_ordinary_user():
        assert list(scan(entries, workers=2)) == list(scan(entries, workers=0))


def _fragile(clip, **settings):
    path = clip.path
    if path == 'crash':
        os._exit(11)
    while path == 'hang':
        pass
    return path


def test_a_crash_or_hang_of_the_decoder_is_the_fault_of_one_file(monkeypatch):
    monkeypatch.setattr('nextvid_mm.datasets.scan.check_file', _fragile)
    names = ['a', 'crash', 'b', 'hang', 'c']
    entries = [Entry(ListedClip(name, -1, n)) for n, name in enumerate(names)]
    monkeypatch.setattr('nextvid_mm.datasets.scan._GRACE', 0)
    found = [finding for _, finding in scan(entries, workers=1, timeout=1)]
    assert [found[n] for n in (0, 2, 4)] == ['a', 'b', 'c']
    for place in (1, 3):
        assert found[place].reason == 'the decoder crashed, or took longer than 1 s'


def _run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(part) for part in (TOOL, *arguments)])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.mark.parametrize('full', [False, True], ids=['ends', 'full'])
def test_parts_of_a_video_are_looked_at_alone(tmp_path, full):
    write_clip(tmp_path / 'long.mp4', num_frames=40)  # 5 s
    parts = dict(begin='0,2', middle='1.5,3.25', late='7,9', short='4,4.5', again='0,2', rest='3,')
    text = 'note,path,start,end\n' + ''.join(f'{n},long.mp4,{t}\n' for n, t in parts.items())
    (tmp_path / 'parts.csv').write_text(text)
    report = ScanReport()
    entries, _ = list_entries(tmp_path / 'parts.csv', tmp_path)
    for entry, finding in scan(entries, workers=0, min_frames=8, full=full):
        report.add(entry, finding)
    assert report.seconds == pytest.approx(2.0 + 1.75 + 2.0)
    assert {str(e.clip).rpartition('#')[2]: f.kind for e, f in report.bad} == {
        't=7,9': 'undecodable', 't=4,4.5': 'too short', 't=0,2': 'duplicate',
    }  # fmt: skip
    clean, bad = report.write(tmp_path / 'out', tmp_path / 'parts.csv')
    assert clean.name == 'out.clean.csv'
    rows = ('begin,long.mp4,0,2', 'middle,long.mp4,1.5,3.25', 'rest,long.mp4,3,')
    assert clean.read_text().splitlines() == ['note,path,start,end', *rows]
    assert bad.read_text().splitlines()[0].split('\t')[:2] == ['4', f'{tmp_path}/long.mp4#t=7,9']


def test_every_frame_is_decoded_where_the_header_ends_before(tmp_path, monkeypatch):
    write_clip(tmp_path / 'a.mp4', num_frames=40)  # 5 s
    monkeypatch.setattr(Decoder, 'end', lambda self: self.first.time + 1.0)
    assert check_file(str(tmp_path / 'a.mp4'), min_frames=40, full=True).kind == ''
    part = ListedClip(str(tmp_path / 'a.mp4'), start=0.5)
    assert check_file(part, min_frames=36, full=True).kind == ''


def test_damage_outside_of_a_part_is_none_of_it(tmp_path):
    write_clip(tmp_path / 'cut.mp4', num_frames=80)
    data = (tmp_path / 'cut.mp4').read_bytes()
    (tmp_path / 'cut.mp4').write_bytes(data[: len(data) * 2 // 3])
    whole = check_file(str(tmp_path / 'cut.mp4'))
    assert whole.kind == 'undecodable'
    part = ListedClip(str(tmp_path / 'cut.mp4'), start=0.0, end=2.0)
    assert check_file(part) == ('', '', 2.0)


def test_files_in_tar_files_are_looked_at(tmp_path, clip_folder):
    listed = [ListedClip(str(clip_folder / f'{n}.mp4'), n, n) for n in range(3)]
    (packed,) = pack(listed, tmp_path, workers=0)
    index_shards([packed.shard], tmp_path / TABLE)
    entries, _ = list_entries(tmp_path / TABLE, tmp_path)
    data = bytearray(packed.shard.read_bytes())
    start = entries[1].clip.offset
    data[start : start + entries[1].clip.size] = bytes(entries[1].clip.size)
    packed.shard.write_bytes(data)
    found = [finding.kind for _, finding in scan(entries, workers=0)]
    assert found == ['', 'undecodable', '']


def test_the_tool_on_a_table(folder, tmp_path, monkeypatch, capsys):
    parquet = pytest.importorskip('pyarrow.parquet')
    import pyarrow

    columns = dict(
        video=['0.mp4', '0.mp4', 'empty.mp4'], begin=[0.0, 1.0, 0.0], text=['x', 'y', 'z']
    )
    parquet.write_table(pyarrow.table(columns), tmp_path / 'mine.parquet')
    monkeypatch.chdir(tmp_path)
    words = ('mine.parquet', '--folder', folder, '--workers', 1)
    with pytest.raises(SystemExit, match=r"has no column 'path', but video, begin, text"):
        _run_tool(monkeypatch, *words)
    _run_tool(monkeypatch, *words, '--columns', 'path=video', 'start=begin')
    assert '2 good files' in capsys.readouterr().out
    clean = parquet.read_table(tmp_path / 'mine.clean.parquet').to_pydict()
    assert clean == dict(video=['0.mp4', '0.mp4'], begin=[0.0, 1.0], text=['x', 'y'])
    names = dict(path='video', start='begin')
    assert len(list(read_entries(str(tmp_path / 'mine.clean.parquet'), names))) == 2


def test_the_tool(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine.txt').write_text('0.mp4 1\nno_moov.mp4 2\n0.mp4 1\n')
    _run_tool(monkeypatch, 'mine.txt', '--folder', folder, '--workers', 1)
    assert (tmp_path / 'mine.clean.txt').read_text() == '0.mp4 1\n'
    assert len((tmp_path / 'mine.bad.txt').read_text().splitlines()) == 2
    output = capsys.readouterr().out
    assert '1 good files' in output
    assert '2 bad (1 undecodable, 1 duplicate): mine.bad.txt' in output
    with pytest.raises(SystemExit, match=r'scan_dataset: error: absent: no such list'):
        _run_tool(monkeypatch, 'absent')
    (tmp_path / 'bad.txt').write_text('empty.mp4\n')
    with pytest.raises(SystemExit, match='bad.txt has no readable file; reasons in bad.bad'):
        _run_tool(monkeypatch, 'bad.txt', '--folder', folder, '--workers', 1)
