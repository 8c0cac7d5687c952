"""One run has a folder, and its starts are written down."""

import json
import multiprocessing
import os
import time

import pytest

from nextvid_mm import run_folder
from nextvid_mm.run_folder import (
    LOCK,
    STARTS,
    FolderInUse,
    is_first_process,
    newest_checkpoint,
    own_folder,
    process_count,
)


def test_a_start_is_noted_and_the_folder_given_back(tmp_path):
    for _ in range(2):
        with own_folder(tmp_path / 'a', ['train.py', 'a b.py']) as folder:
            held = json.loads((folder / LOCK).read_text())
            assert held['pid'] == os.getpid()
    assert not (folder / LOCK).exists()
    first, second = map(json.loads, (folder / STARTS).read_text().splitlines())
    assert first['command'] == second['command'] == "train.py 'a b.py'"
    assert first['versions']['torch']
    assert first['processes'] == 1


def test_a_second_run_is_refused_with_the_name_of_the_first(tmp_path):
    with own_folder(tmp_path, ['train.py', 'first.py']):
        with pytest.raises(FolderInUse) as told, own_folder(tmp_path):
            raise AssertionError('two runs in one folder')
        said = str(told.value)
        assert f'is in use by process {os.getpid()} on ' in said
        assert '(train.py first.py)' in said
        assert '--work-dir' in said
        assert (tmp_path / LOCK).exists()


def _hold(folder):
    with own_folder(folder):
        os._exit(9)


def test_a_dead_run_is_recognised(tmp_path):
    process = multiprocessing.get_context('fork').Process(target=_hold, args=(tmp_path,))
    process.start()
    while not (tmp_path / LOCK).exists() or process.exitcode is None:
        time.sleep(0.01)
    with own_folder(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()


@pytest.fixture
def elsewhere(tmp_path):
    """A lock of a run on another machine."""

    def lock(age=0.0, **changes):
        (tmp_path / LOCK).unlink(missing_ok=True)
        with own_folder(tmp_path):
            theirs = json.loads((tmp_path / LOCK).read_text())
        theirs |= dict(machine='another', host='node7', pid=1) | changes
        (tmp_path / LOCK).write_text(json.dumps(theirs))
        then = time.time() - age
        os.utime(tmp_path / LOCK, (then, then))

    return lock


def test_another_machines_run_counts_while_it_touches_its_lock(tmp_path, elsewhere):
    elsewhere()
    with pytest.raises(FolderInUse, match='in use by process 1 on node7'), own_folder(tmp_path):
        raise AssertionError
    elsewhere(age=run_folder.STALE_SECONDS + 5)
    with own_folder(tmp_path):
        pass


def test_a_job_that_is_started_again_takes_its_folder_back(tmp_path, elsewhere, monkeypatch):
    elsewhere(job='1234')
    monkeypatch.setenv('SLURM_JOB_ID', '1234')
    with own_folder(tmp_path):
        pass


def test_a_process_of_the_same_number_is_another(tmp_path, elsewhere):
    elsewhere(machine=run_folder._machine(), pid=os.getpid(), born='1')
    with own_folder(tmp_path):
        pass


def test_half_a_lock_is_somebodys_while_it_may_be_written(tmp_path):
    (tmp_path / LOCK).write_text('{"pid"')
    with pytest.raises(FolderInUse, match='another machine'), own_folder(tmp_path):
        raise AssertionError
    then = time.time() - run_folder.WRITTEN_SECONDS - 5
    os.utime(tmp_path / LOCK, (then, then))
    with own_folder(tmp_path):
        pass


def test_the_lock_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, 'BEAT_SECONDS', 0.01)
    with own_folder(tmp_path):
        os.utime(tmp_path / LOCK, (1, 1))
        end = time.monotonic() + 10
        while (tmp_path / LOCK).stat().st_mtime < 2:
            assert time.monotonic() < end
            time.sleep(0.01)


def test_other_processes_of_a_run_leave_it_to_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '1')
    with own_folder(tmp_path), own_folder(tmp_path):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('size', ['WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE', 'SLURM_NTASKS'])
def test_every_launcher_says_which_process_this_is(monkeypatch, size):
    rank = dict(WORLD_SIZE='RANK', SLURM_NTASKS='SLURM_PROCID').get(size, 'OMPI_COMM_WORLD_RANK')
    assert (is_first_process(), process_count()) == (True, 1)
    monkeypatch.setenv(rank, '2')
    monkeypatch.setenv(size, '4')
    assert (is_first_process(), process_count()) == (False, 4)


def test_an_address_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ValueError, match='s3://bucket/run is no folder'),
        own_folder('s3://bucket/run'),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_work_directory_stands_for_what_it_saved_last(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('/moved/since/iter_9.pth\n')
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_9.pth')
    for other in (str(tmp_path / 'iter_3.pth'), str(tmp_path.parent), 'none'):
        assert newest_checkpoint(other) == other


def test_a_checkpoint_in_another_folder_is_found_unless_one_lies_beside_the_note(tmp_path):
    run, disk = tmp_path / 'run', tmp_path / 'disk' / 'iter_9.pth'
    for folder in (run, disk.parent):
        folder.mkdir()
    disk.touch()
    (run / 'last_checkpoint').write_text(str(disk))
    assert newest_checkpoint(str(run)) == str(disk)
    (run / 'iter_9.pth').touch()
    assert newest_checkpoint(str(run)) == str(run / 'iter_9.pth')


def test_a_lock_that_a_full_disk_keeps_empty_is_taken_away(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('nextvid_mm.run_folder.json.dumps', full)
    with pytest.raises(OSError, match='No space left'), own_folder(tmp_path):
        pass
    assert not (tmp_path / LOCK).exists()
