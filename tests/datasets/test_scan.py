"""The scanner finds every kind of bad file, says what is wrong, and keeps the rest as it was."""

import os
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import CORRUPTIONS, write_clip, write_corrupt
from permissions import as_ordinary_user

from nextvid_mm.datasets.scan import Entry, ScanReport, check_file, list_entries, scan

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
    assert report.good == ['0.mp4 3', '1.mp4']
    assert report.seconds == pytest.approx(6.0)
    assert report.kinds == dict(undecodable=1, duplicate=2)
    found = {entry.line: finding.reason for entry, finding in report.bad}
    assert found[6] == 'same file as line 2'
    assert found[7] == 'same file as line 5, where its label is -1, not 2'
    clean, bad = report.write(tmp_path / 'out')
    assert clean.read_text() == '0.mp4 3\n1.mp4\n'
    first = bad.read_text().splitlines()[0].split('\t')
    assert first == ['3', str(folder / 'empty.mp4'), 'undecodable', 'the file is empty']


def test_what_cannot_be_scanned(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'absent\.txt: no such list or folder; see docs'):
        list_entries(tmp_path / 'absent.txt')
    with pytest.raises(ValueError, match='names no video or image'):
        list_entries(tmp_path)


def test_processes_give_the_same_in_the_same_order(folder):
    entries, _ = list_entries(folder)
    with as_ordinary_user():
        assert list(scan(entries, workers=2)) == list(scan(entries, workers=0))


def _fragile(path, **settings):
    if path == 'crash':
        os._exit(11)
    while path == 'hang':
        pass
    return path


def test_a_crash_or_hang_of_the_decoder_is_the_fault_of_one_file(monkeypatch):
    monkeypatch.setattr('nextvid_mm.datasets.scan.check_file', _fragile)
    entries = [Entry(name, name, n) for n, name in enumerate(['a', 'crash', 'b', 'hang', 'c'])]
    monkeypatch.setattr('nextvid_mm.datasets.scan._GRACE', 0)
    found = [finding for _, finding in scan(entries, workers=1, timeout=1)]
    assert [found[n] for n in (0, 2, 4)] == ['a', 'b', 'c']
    for place in (1, 3):
        assert found[place].reason == 'the decoder crashed, or took longer than 1 s'


def _run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(part) for part in (TOOL, *arguments)])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    runpy.run_path(str(TOOL), run_name='__main__')


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
