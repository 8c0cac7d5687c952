"""Stops tools at random moments, starts them again, and looks for anything lost.

``python -m benchmarks.stops --stops 200`` runs training, demo, ablations, scan, packing, export,
features and report over and over (``stopped_tools.py``), stopped by Ctrl-C, SIGTERM, SIGUSR1,
SIGHUP, SIGKILL, a disk that fills up, or disturbed by a second run in the same folder. After every
stop: the exit code is documented, nobody has printed a traceback, no process is left, every file is
whole, no more steps are lost than the key allows, and the next start goes on where they end. What
comes out in the end is what a run gives that nobody disturbed, weights bit for bit. Ctrl-C ends
the command with a table of what there was.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.stopped_tools import (
    FULL,
    INTERVAL,
    LAST_STEP,
    SECOND,
    SIGNALS,
    SPEC,
    Tool,
    import_named,
    make_small,
    start,
    tools,
    train,
)
from nextvid_mm.cli.check_resume import read_trace
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.progress import progress_bar
from nextvid_mm.run_folder import LOCK

ALLOWED = {
    'SIGINT': {130},
    'SIGKILL': {-9},
    FULL: {0, 1},
    SECOND: {0},
} | {name: {143} for name in ('SIGTERM', 'SIGUSR1', 'SIGHUP')}
# What is just ending has so long.
_PATIENCE_SECONDS = 30.0
_PR_SET_CHILD_SUBREAPER = 36


@dataclass
class Ledger:
    """What has happened.

    Attributes:
        counts: stops by tool and kind.
        wrong: what was wrong, a line each.
        lost: most steps lost, by kind.
        rounds: runs that came to their end and were compared, by tool.
        late: stops that came when the tool had ended; they do not count.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)
    rounds: Counter[str] = field(default_factory=Counter)
    late: int = 0


def end(pid: int) -> int:
    """Wait for a process; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def has_ended(pid: int) -> bool:
    """Whether a child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def adopt_orphans(yes: bool = True) -> None:
    """Let processes whose parent has died become children of this one, where they are seen."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, int(yes))


def processes() -> Iterator[tuple[int, str, int, int]]:
    """Number, state, parent and session of every process of the machine."""
    for entry in Path('/proc').glob('[0-9]*/stat'):
        with contextlib.suppress(OSError, ValueError):  # it has ended in between
            state, parent, _, session = entry.read_text().rpartition(')')[2].split()[:4]
            yield int(entry.parent.name), state, int(parent), int(session)


def children() -> list[int]:
    """Running children of this process; those that have ended are waited for."""
    found = []
    for pid, state, parent, _ in processes():
        if parent == os.getpid():
            if state == 'Z':
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            else:
                found.append(pid)
    return found


def left_over(known: Collection[int] = ()) -> list[int]:
    """Processes that outlive their tool; ``known`` ran before it and are not its own."""
    limit = time.monotonic() + _PATIENCE_SECONDS
    while (found := [pid for pid in children() if pid not in known]) and time.monotonic() < limit:
        time.sleep(0.05)
    return found


def half_files(folder: Path) -> list[str]:
    """Files that are not what their name says."""
    return [
        f'{path}: {fault}'
        for path in folder.rglob('*')
        if path.is_file() and 'vis_data' not in path.parts and (fault := _fault(path))
    ]


def _fault(path: Path) -> str:
    """What is wrong with a file; '' if it is whole."""
    from safetensors import safe_open

    from nextvid_mm.engine.checkpoints import damage

    try:
        if path.suffix == '.pth':
            return damage(path) or ''
        if path.suffix == '.json' and path.name != LOCK:
            json.loads(path.read_text(encoding='utf-8'))
        elif path.suffix == '.html':
            assert path.read_text(encoding='utf-8').rstrip().endswith('</html>'), 'half'
        elif path.suffix == '.tar':
            with tarfile.open(path) as tar:
                assert all(tar.extractfile(member).read() for member in tar), 'empty'  # type: ignore[union-attr]
        elif path.suffix == '.safetensors':
            with safe_open(path, 'np') as tensors:
                tensors.keys()
        elif path.suffix in ('.csv', '.txt') and (text := path.read_bytes()):
            assert text.endswith(b'\n'), 'half a line'
    except Exception as error:
        return f'{type(error).__name__} {error}'
    return ''


def fill(folder: Path) -> Path:
    """Fill the small disk that a folder is, and no other."""
    if not folder.is_mount():
        raise NotADirectoryError(f'{folder} is no disk of its own any more')
    path = folder / 'filler'
    with open(path, 'wb', buffering=0) as file:
        try:
            while True:
                file.write(b'0' * 2**20)
        except OSError:
            return path


def progress_of(tool: Tool, folder: Path) -> tuple[int, int, int]:
    """Of a tool's training: lines of its trace, its last step, and the step that is saved."""
    if tool.runs is None:
        return 0, 0, 0
    place = folder / tool.runs
    trace, note = read_trace(place), place / 'last_checkpoint'
    saved = int(note.read_text().strip().rpartition('_')[2][:-4]) if note.exists() else 0
    return len(trace), trace[-1]['step'] if trace else 0, saved


def disturb(tool: Tool, kind: str, folder: Path, delay: float, ledger: Ledger) -> int | None:
    """Start a tool, stop it after a while, and note what is wrong afterwards.

    Returns:
        Its exit code; None if it was stopped.
    """
    log, words = folder.parents[1] / 'output.log', tool.words(folder)
    log.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    before, _, saved = progress_of(tool, folder)
    known = children()
    pid = start(words, log)
    limit = time.monotonic() + delay
    while time.monotonic() < limit and not has_ended(pid):
        time.sleep(0.01)
    locked, came = (folder / LOCK).exists(), not has_ended(pid)
    code, wrong, reached = _stop(tool, kind, folder, pid, log)
    came = came and code != (0 if kind in SIGNALS else None)
    if came and code not in ALLOWED[kind]:
        wrong.append(f'exit code {code}')
    elif not came and code:
        wrong.append(f'not stopped, it ended with {code}')
    if kind == SECOND and locked and came:
        text = log.read_text(errors='replace')
        if 'is in use by process' not in text and 'ended before' not in text:
            wrong.append('a second run was let in')
    if orphans := left_over(known):
        wrong.append(f'processes left: {orphans}')
        for orphan in orphans:
            os.kill(orphan, signal.SIGKILL)
    wrong += half_files(folder)
    wrong += _lost(tool, kind, folder, (before, saved), reached, ledger)
    text = log.read_text(errors='replace')
    if 'Traceback (most recent' in text:
        wrong.append('a traceback')
    if wrong:
        kept = log.with_name(f'wrong_{len(ledger.wrong)}.log')
        kept.write_text(text)
        wrong[-1] += f' ({kept})'
    ledger.wrong += [f'{tool.name}, {kind}, after {delay:.1f} s: {line}' for line in wrong]
    if came:
        ledger.counts[tool.name, kind] += 1
    return code if code == 0 or not came else None


def _stop(
    tool: Tool, kind: str, folder: Path, pid: int, log: Path
) -> tuple[int, list[str], int | None]:
    """Stop a tool; returns its exit code, what is wrong, and the step when the disk was full."""
    if kind in SIGNALS:
        os.kill(pid, getattr(signal, kind))
        return end(pid), [], None
    if kind == SECOND:
        other = start(tool.words(folder), log)
        second, early = end(other), has_ended(pid)
        code = end(pid)
        if second == 0 and early:
            with open(log, 'a') as file:
                file.write('the first had ended before\n')
        refused = 'is in use by process' in log.read_text(errors='replace')
        right = second == 0 or (second == 1 and refused)
        return code, [] if right else [f'the second run ended with {second}'], None
    filler = fill(folder.parent)
    reached = progress_of(tool, folder)[1]
    code = end(pid)
    filler.unlink()
    return code, [], reached


def _lost(
    tool: Tool,
    kind: str,
    folder: Path,
    before: tuple[int, int],
    reached: int | None,
    ledger: Ledger,
) -> list[str]:
    """Whether the start went on where the last one had saved, and how many steps this one lost.

    Args:
        tool: that was stopped.
        kind: of the stop.
        folder: that it writes to.
        before: lines of the trace, and the step saved, when it was started.
        reached: last step when the disk was full.
        ledger: is told the most steps that were lost.
    """
    if tool.runs is None:
        return []
    (lines, saved), wrong = before, []
    trace = read_trace(folder / tool.runs)
    if len(trace) > lines and trace[lines]['step'] != saved + 1:
        wrong.append(f'went on with step {trace[lines]["step"]} after {saved} was saved')
    _, last, saved = progress_of(tool, folder)
    if len(trace) == lines:  # stopped before its first step
        return wrong
    lost = max(0, (last if reached is None else reached) - saved)
    ledger.lost[kind] = max(ledger.lost[kind], lost)
    bound = INTERVAL if kind in ('SIGKILL', FULL) else 0
    return [*wrong, f'{lost} steps lost'] if lost > bound else wrong


def run(stops: int, seed: int, root: Path, only: Sequence[str] = ()) -> Ledger:
    """Do it; returns what happened."""
    draw, ledger, log = random.Random(seed), Ledger(), root / 'whole.log'
    os.environ['LOCAL_RANK'] = '0'
    checkpoint = root / 'whole' / 'train' / f'iter_{LAST_STEP}.pth'
    found = [tool for tool in tools(root, checkpoint) if not only or tool.name in only]
    modules = root / 'modules.txt'
    end(start(train('train', checkpoint.parent), log, modules))
    import_named(modules)
    for tool in found:
        folder = root / 'whole' / tool.name
        if tool.name == 'train':
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        begin = time.monotonic()
        if code := end(start(tool.words(folder), log, modules)):
            raise ChildProcessError(f'the undisturbed {tool.name} ended with {code}: {log}')
        tool.seconds = time.monotonic() - begin
        import_named(modules)
        print(f'{tool.name}: {tool.seconds:.1f} s undisturbed', flush=True)
    with progress_bar('stops') as bar, contextlib.suppress(KeyboardInterrupt):
        task = bar.add_task('stops', total=stops)
        while ledger.counts.total() < stops:
            (tool,) = draw.choices(found, [tool.share for tool in found])
            kind, folder = draw.choice(tool.kinds), root / 'disk' / tool.name
            before = ledger.counts.total(), len(ledger.wrong)
            delay = draw.uniform(0, 0.7) * tool.seconds
            done = disturb(tool, kind, folder, delay, ledger) == 0
            ledger.late += ledger.counts.total() == before[0]
            if done:
                finish(tool, root, ledger)
            for line in ledger.wrong[before[1] :]:
                print(line, flush=True)
            bar.update(task, completed=ledger.counts.total())
    for pid in children():  # after Ctrl-C, what was just being stopped
        os.kill(pid, signal.SIGKILL)
    left_over()
    for tool in found:
        folder = root / 'disk' / tool.name
        folder.mkdir(parents=True, exist_ok=True)
        if code := end(start(tool.words(folder), log)):
            ledger.wrong.append(f'{tool.name}: the last start ended with {code}: {log}')
        else:
            finish(tool, root, ledger)
    return ledger


def finish(tool: Tool, root: Path, ledger: Ledger) -> None:
    """Compare a tool's finished folder with the undisturbed one, and clear it away."""
    folder = root / 'disk' / tool.name
    found = tool.compare(folder, root / 'whole' / tool.name)
    left = [str(path) for path in folder.rglob('*.tmp')]
    ledger.wrong += [f'{tool.name}: {line}' for line in [*found, *left][:5]]
    ledger.rounds[tool.name] += 1
    if found:
        shutil.copytree(folder, root / f'wrong_{len(ledger.wrong)}')
    shutil.rmtree(folder)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int = 256) -> Iterator[bool]:
    """A small disk at a folder, where one may be made; else that of the folder, never filled."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ['mount', '-t', 'tmpfs', '-o', f'size={megabytes}m', 'tmpfs', str(folder)]
    made = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield made
    finally:
        if made:
            subprocess.run(['umount', '-l', str(folder)], check=False)


def table(ledger: Ledger) -> str:
    """The stops as a table of Markdown."""
    kinds = [kind for kind in ALLOWED if any(of == kind for _, of in ledger.counts)]
    kinds.sort(key=[*SIGNALS, FULL, SECOND].index)
    lines = [f'| tool | {" | ".join(kinds)} | compared |', f'|---|{"---|" * (len(kinds) + 1)}']
    for tool, rounds in ledger.rounds.items():
        cells = [str(ledger.counts[tool, kind] or '') for kind in kinds]
        lines.append(f'| {" | ".join([tool, *cells, str(rounds)])} |')
    lost = [str(ledger.lost[kind]) for kind in kinds]
    return '\n'.join([*lines, f'| most steps lost | {" | ".join(lost)} | |'])


def main() -> int:
    """Parse, run in a folder of its own, report."""
    parser = argparse.ArgumentParser('benchmarks.stops', description=__doc__)
    parser.add_argument('--stops', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--tools', nargs='+', default=[], help='only these')
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/stops'))
    args = parser.parse_args()
    root = args.folder.resolve()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    adopt_orphans()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    with small_disk(root / 'disk') as made:
        os.chdir(root)
        if not made:
            ALLOWED.pop(FULL)
        make_demo_data('data/demo', SPEC(), workers=0)
        make_small(root)
        ledger = run(args.stops, args.seed, root, args.tools)
        os.chdir('/')
    print(table(ledger))
    for line in ledger.wrong[:20]:
        print(line)
    stops = ledger.counts.total()
    print(f'{stops} stops ({ledger.late} came too late): {len(ledger.wrong)} things wrong')
    return int(bool(ledger.wrong))


if __name__ == '__main__':
    sys.exit(main())
