import importlib.util
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest
from clips import write_clip

from nextvid_mm.datasets.video import backends
from nextvid_mm.datasets.video.backends import ForeignReader, check_backend, nearest, open_video
from nextvid_mm.datasets.video.decoder import interrupt, interruptible
from nextvid_mm.datasets.video.reader import ReadTimeoutError, VideoReader

HANGS = """
import sys, time
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[2]))
connection.send(None)
while True:
    path = connection.recv().rpartition('/')[2]
    if 'hang' in path:
        time.sleep(3600)
    if 'crash' in path:
        raise SystemExit(3)
    connection.send(dict(times=[0.0, 0.5], rate=2.0) if 'good' in path else ('Error', 'no video'))
"""


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Children that do what the name of a file asks for."""
    script = tmp_path / 'child.py'
    script.write_text(HANGS)
    for name in ('good', 'bad', 'hang', 'crash'):
        (tmp_path / name).touch()
    monkeypatch.setattr(backends, '_SCRIPT', script)
    monkeypatch.setattr(backends, '_children', {})
    yield tmp_path
    for process in backends._children.values():
        process.end()


def test_the_default_is_our_reader(tmp_path):
    assert isinstance(open_video(write_clip(tmp_path / 'a.mp4')), VideoReader)


def test_a_hang_ends_the_process_and_the_next_file_gets_another(child):
    assert len(ForeignReader(str(child / 'good'), 'decord')) == 2
    first = backends._children['decord']
    with pytest.raises(ReadTimeoutError, match=r'hang: not read in time'):
        ForeignReader(str(child / 'hang'), 'decord', time.monotonic() + 0.2)
    assert not first.alive
    assert len(ForeignReader(str(child / 'good'), 'decord', time.monotonic() + 60)) == 2
    assert backends._children['decord'] is not first


def test_a_wait_that_is_given_up_ends_the_process(child):
    before = signal.signal(signal.SIGUSR2, interrupt)
    done = threading.Event()

    def give_up():
        while not done.wait(0.3):
            os.kill(os.getpid(), signal.SIGUSR2)

    thread = threading.Thread(target=give_up)
    try:
        ForeignReader(str(child / 'good'), 'decord')
        process = backends._children['decord']
        thread.start()
        with pytest.raises(ReadTimeoutError, match='run was to end'), interruptible():
            ForeignReader(str(child / 'hang'), 'decord')
        assert not process.alive
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR2, before)


def test_errors_and_crashes_name_the_file(child):
    with pytest.raises(ValueError, match=r'bad: decord says Error: no video'):
        ForeignReader(str(child / 'bad'), 'decord')
    with pytest.raises(ValueError, match=r'crash: the decoder crashed'):
        ForeignReader(str(child / 'crash'), 'decord')
    with pytest.raises(FileNotFoundError, match='absent'):
        ForeignReader(str(child / 'absent'), 'decord')


def test_what_is_not_installed_is_said_at_once(monkeypatch):
    monkeypatch.setattr(backends, 'find_spec', lambda name: None)
    with pytest.raises(ImportError, match=r"backend='decord' cannot be used.*backend='pyav'"):
        check_backend('decord')
    check_backend('pyav')
    with pytest.raises(ValueError, match="backend='opencv' is not one of pyav, decord"):
        check_backend('opencv')


def test_a_package_without_its_libraries_is_as_good_as_none(child, monkeypatch):
    (child / 'child.py').write_text(HANGS.replace('send(None)', "send('Could not load ...')"))
    monkeypatch.setattr(backends, 'find_spec', lambda name: True)
    with pytest.raises(ImportError, match='Could not load'):
        check_backend('torchcodec')


def test_ties_go_to_the_later_frame():
    times = np.array([0.0, 1.0, 2.0])
    assert nearest(times, np.array([-1, 0.4, 0.5, 1.4, 9]), 1e-4).tolist() == [0, 0, 1, 1, 2]


@pytest.mark.skipif(importlib.util.find_spec('decord') is None, reason='decord is not installed')
def test_decord_gives_the_frames_of_a_plain_file(tmp_path):
    path = write_clip(tmp_path / 'a.mp4')
    video = open_video(path, 'decord', deadline=time.monotonic() + 60)
    assert (len(video), video.rate, video.duration) == (24, 8, 3)
    levels = [frame.mean() / 4 for frame in video.frames_at([2.5, 0.0, 1.0]).frames]
    assert levels == pytest.approx([20, 0, 8], abs=1)
    (tmp_path / 'text.mp4').write_text('no video')
    with pytest.raises(ValueError, match=r'text\.mp4: decord says'):
        open_video(tmp_path / 'text.mp4', 'decord')


@pytest.mark.skipif(sys.platform != 'linux', reason='asks the system for its processes')
def test_the_process_ends_with_its_parent(child):
    ForeignReader(str(child / 'good'), 'decord')
    process = backends._children['decord']._process
    assert os.path.exists(f'/proc/{process.pid}')
    backends._children['decord']._connection.close()
    process.wait(60)
