"""Kills one of four processes of a training, again and again, and looks at what comes out.

``python -m benchmarks.restarts --kills 30``: the agent of ``torchrun`` starts four processes that
train the demo's model; at a random moment one of them, drawn at random, gets SIGKILL. The agent
must start all of them again, they must go on from the last save, and what comes out must be what
four processes give that nobody disturbed: losses and weights bit for bit. Agents and processes are
forks (``stopped_tools.py``). When a run has come to its end, the next one begins in a new folder.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

from benchmarks.stopped_tools import (
    LAST_STEP,
    SPEC,
    import_named,
    set_signals,
    start,
    train,
    training,
)
from benchmarks.stops import end, has_ended, processes
from nextvid_mm.cli import main as call
from nextvid_mm.cli.check_resume import read_trace
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.progress import progress_bar

PROCESSES = 4
_POLL_SECONDS = 0.02


def launch(folder: Path, log: Path, restarts: int) -> int:
    """Start an agent with its processes, all of them forks; returns its process number."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(output, number)
    code = 1
    try:
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=PROCESSES,
            run_id='kills',
            rdzv_backend='c10d',
            rdzv_endpoint=f'127.0.0.1:{port}',
            local_addr='127.0.0.1',
            max_restarts=restarts,
            monitor_interval=0.1,
            start_method='fork',
        )
        words = train('train', folder)
        flags = words.index('--cfg-options')
        words[flags:flags] = ['--launcher', 'pytorch']
        elastic_launch(config, work)(words)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def work(words: list[str]) -> None:
    """One of the processes; the agent waits for it to return."""
    import torch

    set_signals()
    call(words[0], words[1:])
    torch.distributed.destroy_process_group()


def workers(agent: int) -> list[int]:
    """The training processes of an agent: its youngest children."""
    found = [pid for pid, state, parent, _ in processes() if parent == agent and state != 'Z']
    return sorted(found)[-PROCESSES:]


def run(kills: int, seed: int, root: Path) -> list[str]:
    """Do it; returns what is wrong."""
    draw, log, rounds, done = random.Random(seed), root / 'output.log', 0, 0
    wrong: list[str] = []
    modules = root / 'modules.txt'
    end(start(train('train', root / 'one'), root / 'one.log', modules))
    import_named(modules)
    begin = time.monotonic()
    if code := end(launch(root / 'whole', root / 'whole.log', 0)):
        raise ChildProcessError(f'the undisturbed run ended with {code}: {root}/whole.log')
    seconds = time.monotonic() - begin
    with progress_bar('kills') as bar:
        task = bar.add_task(f'one of {PROCESSES} processes', total=kills)
        while done < kills:
            folder = root / 'killed'
            agent = launch(folder, log, kills)
            while not has_ended(agent):
                done += _kill_one(agent, folder, draw, seconds) if done < kills else 0
                bar.update(task, completed=done)
                time.sleep(_POLL_SECONDS)
            if code := end(agent):
                return [*wrong, f'the agent ended with {code}: {log}']
            wrong += training(folder, root / 'whole')
            rounds += 1
            shutil.rmtree(folder)
    print(f'{done} kills of one of {PROCESSES} processes, {rounds} runs came to their end')
    return wrong


def _kill_one(agent: int, folder: Path, draw: random.Random, seconds: float) -> int:
    """Kill one process at a random moment of an attempt; returns how many were killed."""
    limit = time.monotonic() + draw.uniform(0.1, 0.9) * seconds
    target = draw.randrange(PROCESSES)
    while time.monotonic() < limit:
        if has_ended(agent):
            return 0
        time.sleep(_POLL_SECONDS)
    found, trace = workers(agent), read_trace(folder)
    if len(found) < PROCESSES or (trace and trace[-1]['step'] == LAST_STEP):
        return 0
    os.kill(found[target], signal.SIGKILL)
    while found[target] in workers(agent):
        time.sleep(_POLL_SECONDS)
    return 1


def main() -> int:
    """Parse, run in a folder of its own, report."""
    parser = argparse.ArgumentParser('benchmarks.restarts', description=__doc__)
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, default=Path('work_dirs/restarts'))
    args = parser.parse_args()
    root = args.folder.resolve()
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    os.chdir(root)
    make_demo_data('data/demo', SPEC(), workers=0)
    wrong = run(args.kills, args.seed, root)
    for line in wrong[:20]:
        print(line)
    print(f'{len(wrong)} things wrong')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
