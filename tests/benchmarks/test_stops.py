"""What the command finds wrong after a stop; the stops themselves take minutes."""

import json
import os
import re
import signal
import subprocess
import tarfile
import time
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks import stopped_tools, stops
from benchmarks.stopped_tools import FULL, SECOND, Tool


@pytest.fixture
def call(monkeypatch):
    """In place of a tool: sleeps, with a child that outlives it if asked to."""

    def run(name, words):
        if name == 'orphan' and os.fork() == 0:
            time.sleep(600)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
        os.write(1, f'{name} begins\n'.encode())
        if name == 'broken':
            raise RuntimeError('no more')
        time.sleep(0 if name == 'quick' else 600)

    def start(words, log):
        """Come back when the tool is at work, or at its end, however slow the machine is."""
        pid = stopped_tools.start(words, log)
        while not log.exists() or ' begins' not in log.read_text():
            time.sleep(0.01)
        while words[0] in ('quick', 'broken') and not stops.has_ended(pid):
            time.sleep(0.01)
        return pid

    monkeypatch.setattr(stopped_tools, 'call', run)
    monkeypatch.setattr(stops, 'start', start)
    monkeypatch.setattr(stops, '_PATIENCE_SECONDS', 0.3)
    stops.adopt_orphans()
    yield
    stops.adopt_orphans(False)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / 'disk' / 'tool'
    path.mkdir(parents=True)
    return path


def tool(name, **changes):
    return Tool(name, lambda folder: [name], lambda ours, theirs: [], **changes)


def stop(tool, kind, folder):
    ledger = stops.Ledger()
    return stops.disturb(tool, kind, folder, 0.0, ledger), ledger


def test_a_documented_end_is_right_and_another_is_not(call, folder):
    code, ledger = stop(tool('train'), 'SIGTERM', folder)
    assert (code, ledger.wrong, ledger.counts) == (None, [], {('train', 'SIGTERM'): 1})
    _, ledger = stop(tool('train'), 'SIGUSR1', folder)
    assert len(ledger.wrong) == 1
    assert 'train, SIGUSR1, after 0.0 s: exit code -10 (' in ledger.wrong[0]


def test_a_stop_that_comes_too_late_does_not_count(call, folder):
    code, ledger = stop(tool('quick'), 'SIGTERM', folder)
    assert (code, ledger.wrong, ledger.counts.total()) == (0, [], 0)


def test_a_traceback_is_found(call, folder):
    _, ledger = stop(tool('broken'), 'SIGTERM', folder)
    assert 'not stopped, it ended with 1' in ledger.wrong[0]
    assert 'SIGTERM, after 0.0 s: a traceback' in ledger.wrong[1]


def test_files_that_differ_are_found(tmp_path):
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    for place in (ours, theirs):
        place.mkdir()
        (place / 'a.tar').write_bytes(b'one')
        (place / 'list.txt').write_text(f'{place}/a.mp4\n')
    assert stopped_tools.files(ours, theirs) == []
    (ours / 'a.tar').write_bytes(b'two')
    (ours / 'list.txt').unlink()
    found = stopped_tools.files(ours, theirs)
    assert sorted(found) == [f'{ours}/a.tar differs', f'{ours}/list.txt is missing']


def test_processes_that_outlive_a_tool_are_found_and_ended(call, folder):
    before = stops.children()  # such as a tracker of semaphores that other tests have started
    with subprocess.Popen(['sleep', '600']) as other:
        _, ledger = stop(tool('orphan'), 'SIGKILL', folder)
        assert re.search(r'processes left: \[\d+\]', ledger.wrong[0])
        assert stops.left_over(known=[*before, other.pid]) == []
        assert other.poll() is None
        other.kill()


def test_a_second_run_must_be_refused(call, folder, monkeypatch):
    (folder / stops.LOCK).touch()
    monkeypatch.setattr(stops, 'end', lambda pid: os.kill(pid, 9) or (os.waitpid(pid, 0) and 0))
    _, ledger = stop(tool('train', runs='.'), SECOND, folder)
    assert 'a second run was let in' in ledger.wrong[0]


def _trace(folder, *steps, saved):
    lines = [json.dumps(dict(step=step)) for step in steps]
    (folder / 'trace.jsonl').write_text('\n'.join(lines) + '\n')
    (folder / 'last_checkpoint').write_text(f'{folder}/iter_{saved}.pth')


@pytest.mark.parametrize(
    ('kind', 'steps', 'saved', 'reached', 'wrong'),
    [
        ('SIGTERM', (1, 2, 3), 3, None, []),
        ('SIGTERM', (1, 2, 3), 2, None, ['1 steps lost']),
        ('SIGKILL', (1, 2, 3, 4, 5, 6), 1, None, []),
        ('SIGKILL', (1, 2, 3, 4, 5, 6, 7), 1, None, ['6 steps lost']),
        (FULL, (1, 2, 3, 4, 5, 6, 7), 1, 6, []),
        ('SIGTERM', (1, 3), 3, None, ['went on with step 3 after 1 was saved']),
    ],
)
def test_steps_lost_and_starts_that_do_not_go_on(folder, kind, steps, saved, reached, wrong):
    _trace(folder, *steps, saved=saved)
    before = (1, 1) if 3 in steps[:2] else (0, 0)
    found = stops._lost(tool('t', runs='.'), kind, folder, before, reached, stops.Ledger())
    assert found == wrong


def test_half_files_are_found(tmp_path):
    (tmp_path / 'iter_1.pth').write_bytes(b'PK half')
    (tmp_path / 'results.json').write_text('{"a": ')
    (tmp_path / 'report.html').write_text('<html>')
    (tmp_path / 'running.json').write_text('{"a"')
    (tmp_path / 'list.txt').write_text('a.mp4\nb.m')
    save_file(dict(a=np.ones(4)), tmp_path / 'half.safetensors')
    with tarfile.open(tmp_path / 'half.tar', 'w') as tar:
        tar.add(tmp_path / 'half.safetensors', 'a')
    assert len(stops.half_files(tmp_path)) == 4
    for name, cut in (('half.safetensors', 20), ('half.tar', 540)):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:cut])
    assert len(stops.half_files(tmp_path)) == 6


def test_a_signal_before_the_tool_ends_the_fork_and_one_after_it_is_too_late(tmp_path, monkeypatch):
    def interrupt(*_):
        os.kill(os.getpid(), signal.SIGINT)

    log = tmp_path / 'log'
    monkeypatch.setattr(stopped_tools, 'call', lambda name, words: None)
    with monkeypatch.context() as early:
        early.setattr(os, 'setsid', interrupt)  # it is held until then
        assert stops.end(stopped_tools.start(['quick'], log)) == 130
    with monkeypatch.context() as late:
        late.setattr(stopped_tools.sys, '__stdout__', SimpleNamespace(flush=interrupt))
        assert stops.end(stopped_tools.start(['quick'], log)) == 0
    assert log.read_text() == ''


def test_a_child_of_a_tool_is_a_fork_with_its_pipes(call, tmp_path):
    """As ``follow`` starts a training: standard output and error in one pipe."""
    command = ['python', 'tools/quick.py', '--flag']
    streams = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with stopped_tools.Fork(command, start_new_session=True, **streams) as child:
        assert child.stdout.read() == 'quick begins\n'
    assert child.returncode == 0


def test_the_table_has_a_line_for_each_tool_and_what_was_lost():
    ledger = stops.Ledger()
    ledger.counts.update({('train', 'SIGKILL'): 3, ('train', 'SIGINT'): 1, ('scan', 'SIGINT'): 2})
    ledger.rounds.update(train=2, scan=1)
    ledger.lost['SIGKILL'] = 4
    assert stops.table(ledger).splitlines()[2:] == [
        '| train | 1 | 3 | 2 |',
        '| scan | 2 |  | 1 |',
        '| most steps lost | 0 | 4 | |',
    ]


def test_no_disk_but_the_small_one_is_filled(tmp_path):
    with pytest.raises(NotADirectoryError, match='no disk of its own'):
        stops.fill(tmp_path)
    assert list(tmp_path.iterdir()) == []
