"""What the command finds wrong after a stop; the stops themselves take minutes."""

import os
import signal
import time

import pytest

from benchmarks import stops


@pytest.fixture
def tool(monkeypatch):
    """In place of a tool: sleeps, with a child that outlives it if asked to."""

    def call(name, words):
        if 'orphan' in words and os.fork() == 0:
            time.sleep(20)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
        time.sleep(20)

    monkeypatch.setattr(stops, 'call', call)


def test_a_documented_end_is_right_and_another_is_not(tool, tmp_path):
    folder = tmp_path / 'disk'
    folder.mkdir()
    assert stops.disturb(['train'], 'SIGTERM', folder, 0.3) == []
    assert stops.disturb(['train'], 'SIGUSR1', folder, 0.3) == ['train, SIGUSR1: exit code -10']


def test_half_files_are_found(tmp_path):
    (tmp_path / 'iter_1.pth').write_bytes(b'PK half')
    (tmp_path / 'results.json').write_text('{"a": ')
    (tmp_path / 'report.html').write_text('<html>')
    (tmp_path / 'running.json').write_text('{"a"')
    assert len(stops.half_files(tmp_path)) == 3


def test_processes_left_in_a_session_are_found(tool, tmp_path):
    pid = stops.start(['train', 'orphan'], tmp_path / 'log')
    time.sleep(0.3)
    os.kill(pid, signal.SIGKILL)
    stops.end(pid)
    (left,) = stops.left_over(pid)
    os.kill(left, signal.SIGKILL)
