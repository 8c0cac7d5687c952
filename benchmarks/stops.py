"""Stops tools at random moments, starts them again, and looks for anything lost.

``python -m benchmarks.stops --stops 200`` trains the demo's model for some steps, over and over
stopped by Ctrl-C, SIGTERM, SIGUSR1, SIGHUP, SIGKILL, a disk that fills up, or disturbed by a second
run in its folder; so are the scan of a list, the report of the run, and the generation of data.
After every stop: the exit code is documented, no process is left, every file is whole. At the end,
losses and weights are those of a run that nobody disturbed, bit for bit.

Tools run in forks of this process: a start costs a moment instead of seconds of imports.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from nextvid_mm.cli import main as call
from nextvid_mm.cli.check_resume import compare_checkpoints, compare_traces
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.progress import progress_bar
from nextvid_mm.run_folder import LOCK

SIGNALS = ('SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGKILL')
KINDS = (*SIGNALS, 'full disk', 'second run')
ALLOWED = {
    'SIGINT': {0, 130},
    'SIGKILL': {0, -9},
    'full disk': {0, 1},
    'second run': {0},
} | {name: {0, 143} for name in ('SIGTERM', 'SIGUSR1', 'SIGHUP')}
SPEC = DemoSpec(num_train=16, num_val=4, frames=16, num_images=4, num_val_images=4)
_SETTINGS = {
    **{f'train_cfg.stages.{stage}.steps': 8 for stage in range(3)},
    'train_cfg.stages.3.steps': 4,
    **{f'train_cfg.stages.{stage}.batch_size': 4 for stage in range(4)},
    'model.backbone.arch.depth': 1,
    'custom_hooks.2.interval': 8,
    'default_hooks.checkpoint.interval': 5,
    'default_hooks.checkpoint.save_last': True,
    'default_hooks.trace.type': 'TraceHook',
    'default_hooks.logger.interval': 4,
}
OPTIONS = [f'{key}={value}' for key, value in _SETTINGS.items()]


def start(words: Sequence[str], log: Path) -> int:
    """Run a tool in a fork that leads a session of its own; returns its process number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = 1
    try:
        call(words[0], list(words[1:]))
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
        if not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    finally:
        sys.stdout.flush()
        os._exit(code)


def end(pid: int) -> int:
    """Wait for a process; returns its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left_over(session: int) -> list[int]:
    """Processes that are still in a session; what is just ending has a second."""
    limit = time.monotonic() + 5
    while True:
        found = []
        for entry in Path('/proc').glob('[0-9]*/stat'):
            try:
                state, _, _, of = entry.read_text().rpartition(')')[2].split()[:4]
            except (OSError, ValueError):
                continue
            if int(of) == session and state != 'Z':
                found.append(int(entry.parent.name))
        if not found or time.monotonic() > limit:
            return found
        time.sleep(0.05)


def half_files(folder: Path) -> list[str]:
    """Files that are not what their name says."""
    from nextvid_mm.engine.checkpoints import damage

    found = [f'{path}: {fault}' for path in folder.rglob('*.pth') if (fault := damage(path))]
    for path in folder.rglob('*.json'):
        if path.name in (LOCK, 'scalars.json') or 'vis_data' in path.parts:
            continue
        try:
            json.loads(path.read_text(encoding='utf-8'))
        except ValueError:
            found.append(f'{path}: half')
    for path in folder.rglob('report.html'):
        if not path.read_text(encoding='utf-8').rstrip().endswith('</html>'):
            found.append(f'{path}: half')
    return found


def fill(folder: Path) -> Path:
    """Fill the disk that a folder is on."""
    path = folder / 'filler'
    with open(path, 'wb', buffering=0) as file:
        try:
            while True:
                file.write(b'0' * 2**20)
        except OSError:
            return path


def disturb(words: Sequence[str], kind: str, folder: Path, delay: float) -> list[str]:
    """Start a tool, stop it after a while, and say what is wrong afterwards."""
    log = folder.parent / 'output.log'
    pid = start(words, log)
    time.sleep(delay)
    wrong, filler, second = [], None, None
    if kind in SIGNALS:
        os.kill(pid, getattr(signal, kind))
    elif kind == 'full disk':
        filler = fill(folder)
    elif (folder / LOCK).exists():
        second = end(start(words, log))
    code = end(pid)
    if filler is not None:
        filler.unlink()
    if second == 0 and code == 0 and words[0] == 'train':
        second = None  # the first had ended before the second began
    if second == 0:
        wrong.append('a second run was let in')
    if code not in ALLOWED[kind]:
        wrong.append(f'exit code {code}')
    if orphans := left_over(pid):
        wrong.append(f'processes left: {orphans}')
    return [f'{words[0]}, {kind}: {text}' for text in wrong + half_files(folder)]


def run(stops: int, seed: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Do it; returns counts by kind, and what is wrong."""
    draw, counts, wrong = random.Random(seed), Counter[str](), []
    os.environ['LOCAL_RANK'] = '0'
    whole, killed = folder / 'whole', folder / 'disk' / 'killed'
    killed.mkdir(parents=True)

    def into(where: Path) -> list[str]:
        words = ['train', 'nextvid/vit-tiny_demo.py', '--resume', '--work-dir', str(where)]
        return [*words, '--cfg-options', *OPTIONS]

    begin = time.monotonic()
    if code := end(start(into(whole), folder / 'whole.log')):
        raise ChildProcessError(f'the undisturbed run ended with {code}: {folder}/whole.log')
    seconds = time.monotonic() - begin
    scan = ['scan_dataset', 'data/demo/demo_train_list_videos.txt', '--workers', '2']
    scan += ['--root', 'data/demo/videos_train', '--out', str(killed / 'scan')]
    tools = [scan, ['report', str(killed)]]
    rounds = 0
    with progress_bar('stops') as bar:
        task = bar.add_task('stops', total=stops)
        while counts.total() < stops:
            kind = draw.choice(KINDS)
            words = into(killed)
            if draw.random() < 0.3 and (killed / 'last_checkpoint').exists():
                words = draw.choice(tools)
                kind = draw.choice(('SIGINT', 'SIGTERM', 'SIGKILL'))
            wrong += disturb(words, kind, killed, draw.uniform(0.1, 0.8) * seconds)
            counts[f'{words[0]}, {kind}'] += 1
            bar.advance(task)
            last = killed / 'last_checkpoint'
            if last.exists() and last.read_text().endswith('iter_28.pth'):
                rounds += 1
                wrong += compare(killed, whole)
                shutil.rmtree(killed)
                killed.mkdir()
        if code := end(start(into(killed), folder / 'disk' / 'output.log')):
            wrong.append(f'the last run ended with {code}')
        wrong += compare(killed, whole)
    counts['rounds compared, bit for bit'] = rounds + 1
    return counts, wrong


def compare(killed: Path, whole: Path) -> list[str]:
    """What differs between a disturbed run and the undisturbed one."""
    return [*compare_traces(killed, whole)[:5], *compare_checkpoints(killed, whole)[:5]]


def main() -> int:
    """Parse, run in a folder of its own, report."""
    parser = argparse.ArgumentParser('benchmarks.stops', description=__doc__)
    parser.add_argument('--stops', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/stops'))
    args = parser.parse_args()
    folder = args.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / 'disk').mkdir(parents=True)
    # Full disks need a small one; where it may not be made, a whole one is filled never.
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=96m', 'tmpfs', str(folder / 'disk')]
    small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    if not small:
        globals()['KINDS'] = tuple(kind for kind in KINDS if kind != 'full disk')
    try:
        os.chdir(folder)
        make_demo_data('data/demo', SPEC, workers=0)
        counts, wrong = run(args.stops, args.seed, folder)
    finally:
        os.chdir('/')
        if small:
            subprocess.run(['umount', '-l', str(folder / 'disk')], check=False)
    for name, count in sorted(counts.items()):
        print(f'{count:4} {name}')
    for line in wrong[:20]:
        print(line)
    print(f'{args.stops} stops: {len(wrong)} things wrong')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
