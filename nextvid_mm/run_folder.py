"""The folder of a run: one run at a time has it, and it says how the run was started.

While a run goes on, ``running.json`` says which; it is a lock. A run on the same machine that has
died is recognised by its process, one on another machine that shares the file system by the age of
the file, which a running one touches every :data:`BEAT_SECONDS`. ``starts.jsonl`` gets a line for
every start: when, where, with which command, revision and versions.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nextvid_mm.files import append_line, is_remote

LOCK, STARTS = 'running.json', 'starts.jsonl'
BEAT_SECONDS = 15.0
# A lock of another machine that has not been touched for so long belongs to nobody.
STALE_SECONDS = 120.0
# One that says nothing is being written, or was killed while it was.
WRITTEN_SECONDS = 10.0
_LIBRARIES = (
    *('torch', 'torchvision', 'mmengine', 'mmcv-lite', 'mmaction2', 'mmpretrain'),
    *('numpy', 'av'),
)


class FolderInUse(ValueError):
    """Another run has the folder."""


@contextmanager
def own_folder(work_dir: str | Path, command: list[str] | None = None) -> Iterator[Path]:
    """Have a folder for one run, and note its start there.

    Processes of one run that are not the first leave that to it.

    Args:
        work_dir: made if it is missing.
        command: what was called (default: that of the process).

    Yields:
        The folder.

    Raises:
        FolderInUse: If another run has it; names the run.
        ValueError: If it is an address, such as ``s3://...``.
    """
    if is_remote(work_dir):  # else a local folder of that name would be made
        raise ValueError(f'{work_dir} is no folder of a file system: mount it, or copy later')
    folder = Path(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    if not is_first_process():
        yield folder
        return
    mine = _who(command or [*sys.argv])
    _take(folder / LOCK, mine)
    done = threading.Event()
    beat = threading.Thread(target=_touch, args=(folder / LOCK, done), daemon=True)
    beat.start()
    try:
        _note_start(folder, mine)
        yield folder
    finally:
        done.set()
        if _read(folder / LOCK).get('token') == mine['token']:
            (folder / LOCK).unlink(missing_ok=True)


def newest_checkpoint(path: str) -> str:
    """Of a work directory, the checkpoint that was saved last; any other path as it is.

    That lies beside the note that names it, wherever a folder was moved to since, or else, of a run
    with ``default_hooks.checkpoint.out_dir``, where the note says.
    """
    note = Path(path, 'last_checkpoint')
    if not note.is_file():
        return path
    noted = Path(note.read_text(encoding='utf-8').strip())
    beside = note.with_name(noted.name)
    return str(noted if noted.exists() and not beside.exists() else beside)


def is_first_process() -> bool:
    """Whether this is the only process of its run, or the one with number 0."""
    return _told('RANK', 'OMPI_COMM_WORLD_RANK', 'SLURM_PROCID', otherwise='0') == '0'


def process_count() -> int:
    """Number of processes that the launcher has started, of which this is one."""
    return int(_told('WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE', 'SLURM_NTASKS', otherwise='1'))


def _told(*names: str, otherwise: str) -> str:
    """What torchrun, Open MPI or Slurm says, the innermost of them."""
    return next((os.environ[name] for name in names if name in os.environ), otherwise)


def _who(command: list[str]) -> dict[str, Any]:
    return dict(
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        born=_born(os.getpid()),
        job=_job(),
        since=time.strftime('%Y-%m-%d %H:%M:%S'),
        command=shlex.join(command),
        token=secrets.token_hex(8),
    )


def _job() -> str:
    """What starts a run again after a failure: the job of Slurm, or a run of torchrun."""
    names = ('SLURM_JOB_ID', 'TORCHELASTIC_RUN_ID')
    return next((os.environ[n] for n in names if os.environ.get(n, 'none') != 'none'), '')


def _machine() -> str:
    """Tells machines, their boots and containers apart, as process numbers do not."""
    try:
        boot = Path('/proc/sys/kernel/random/boot_id').read_text().strip()
        return f'{boot} {os.readlink("/proc/self/ns/pid")}'
    except OSError:  # not Linux
        return socket.gethostname()


def _born(pid: int) -> str:
    """When a process was started, which tells it from a later one of the same number."""
    try:
        state, *fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    except (OSError, ValueError):
        return ''
    return '' if state == 'Z' else fields[18]


def _take(lock: Path, mine: dict[str, Any]) -> None:
    for _ in range(3):
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _clear_if_stale(lock, mine)
            continue
        try:
            with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
                file.write(json.dumps(mine) + '\n')
        except BaseException:  # a full disk, a signal: an empty lock would tell of nobody
            lock.unlink(missing_ok=True)
            raise
        return
    raise FolderInUse(f'{lock.parent} was taken by another run that started at the same moment')


def _clear_if_stale(lock: Path, mine: dict[str, Any]) -> None:
    """Put a lock away that belongs to nobody.

    Raises:
        FolderInUse: If it belongs to somebody.
    """
    theirs = _read(lock)
    if _is_alive(lock, theirs, mine):
        name = f'process {theirs.get("pid", "?")} on {theirs.get("host", "another machine")}'
        raise FolderInUse(
            f'{lock.parent} is in use by {name} since {theirs.get("since", "a moment ago")} '
            f'({theirs.get("command", "unknown command")}): wait for it, or give another '
            f'--work-dir. If that run is gone, delete {lock}'
        )
    aside = lock.with_name(f'{LOCK}.{mine["token"]}')
    try:
        os.rename(lock, aside)  # of several runs that see a stale lock, one succeeds
    except FileNotFoundError:
        return
    if _read(aside) != theirs:  # somebody has taken it in between: give it back
        with suppress(OSError):
            os.link(aside, lock)
    aside.unlink()


def _is_alive(lock: Path, theirs: dict[str, Any], mine: dict[str, Any]) -> bool:
    if theirs.get('machine') == mine['machine']:
        born = _born(int(theirs.get('pid', -1)))
        return bool(born) and born == theirs.get('born')
    if theirs and theirs.get('job') and theirs['job'] == mine['job']:
        return False  # the same job, started again on another machine
    return _age(lock) < (STALE_SECONDS if theirs else WRITTEN_SECONDS)


def _age(lock: Path) -> float:
    """Seconds since a lock was touched, by the clock of its file system."""
    probe = lock.with_name(f'{LOCK}.{secrets.token_hex(4)}')
    try:
        probe.touch()
        now = probe.stat().st_mtime
        probe.unlink()
        return now - lock.stat().st_mtime
    except FileNotFoundError:
        return STALE_SECONDS


def _read(lock: Path) -> dict[str, Any]:
    try:
        found = json.loads(lock.read_text(encoding='utf-8'))
    except (OSError, ValueError):  # gone, or being written
        return {}
    return found if isinstance(found, dict) else {}


def _touch(lock: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(lock)


def _note_start(folder: Path, who: dict[str, Any]) -> None:
    """Add the line of a start to :data:`STARTS`."""
    line = {key: who[key] for key in ('since', 'host', 'pid', 'job', 'command')}
    line |= dict(
        folder=os.getcwd(),
        processes=process_count(),
        revision=revision(),
        versions=versions(),
    )
    append_line(folder / STARTS, json.dumps(line))


def revision() -> str:
    """Git revision of this project, with ``+`` if files differ from it; '' if there is none."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / '.git').exists():
        return ''
    command = ['git', '-C', str(checkout), 'describe', '--always', '--abbrev=40']
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            [*command, '--dirty=+', '--exclude=*'],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()
    return ''


def versions() -> dict[str, str]:
    """Versions of Python, of this project and of the libraries it stands on."""
    from importlib import metadata

    from nextvid_mm.version import __version__

    found = dict(python=sys.version.split()[0], nextvid_mm=__version__)
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
