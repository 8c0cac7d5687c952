import signal
import subprocess
import sys
from multiprocessing import Pipe

import pytest

from nextvid_mm.datasets.video import child

FOLDER = child.__file__.rpartition('/')[0]
PARENT = """
import os, signal, subprocess, sys, time
script = sys.argv[1]
code = 'import sys, time; sys.path.insert(0, sys.argv[1]); import child; child.die_with_parent()'
code += '; print("ready", flush=True); time.sleep(600)'
process = subprocess.Popen([sys.executable, '-c', code, script], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_imports_nothing_of_ours():
    with open(child.__file__, encoding='utf-8') as file:
        assert 'nextvid_mm' not in file.read()


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux does this')
def test_it_dies_with_its_parent_even_if_that_is_killed():
    parent = subprocess.run([sys.executable, '-c', PARENT, FOLDER], capture_output=True, text=True)
    pid = int(parent.stdout)
    for _ in range(600):
        try:
            with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
                if file.read().rpartition(')')[2].split()[0] == 'Z':
                    return
        except FileNotFoundError:
            return
        subprocess.run(['sleep', '0.1'], check=True)
    raise AssertionError(f'process {pid} is still there')


def test_a_missing_package_is_reported_and_not_raised(monkeypatch):
    monkeypatch.setitem(sys.modules, 'decord', None)
    for own in ('die_with_parent', 'outlast_signals'):
        monkeypatch.setattr(child, own, lambda: None)
    ours, theirs = Pipe()
    child.main('decord', theirs.fileno())
    assert 'decord' in ours.recv()
    theirs._handle = None  # main has closed it


ECHOES = """
import sys
sys.path.insert(0, sys.argv[1])
import child
child._what_is_missing = lambda name: None
child._open_decord = lambda path: (None, path)
child.main('decord', int(sys.argv[2]))
"""


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP])
def test_what_ends_the_run_does_not_end_it_before_its_answer(number):
    ours, theirs = Pipe()
    command = [sys.executable, '-c', ECHOES, FOLDER, str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        assert ours.recv() is None
        process.send_signal(number)
        ours.send('a.mp4')
        assert ours.recv() == 'a.mp4'
        ours.close()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
