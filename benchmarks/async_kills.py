"""Kills a run by SIGKILL during asynchronous saves, over and over, and looks for anything lost.

``python -m benchmarks.async_kills --kills 30`` trains a model of a few numbers that saves after
every step, in forks of this process. Each is killed at a random moment and goes on from what is
there. In the end losses, gradient norms, weights and optimiser are those of a run that nobody
disturbed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from mmengine.hooks import Hook

SUPPORT = Path(__file__).resolve().parents[1] / 'tests' / 'support'
STEPS = 400
_SECONDS = 0.02  # of a step, at least: kills then hit saves of which some are long over


def main() -> int:
    """Train, kill, compare."""
    parser = argparse.ArgumentParser('benchmarks.async_kills', description=__doc__)
    parser.add_argument('--kills', type=int, default=30)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    sys.path.insert(0, str(SUPPORT))
    torch.set_num_threads(1)
    toy, processes = importlib.import_module('toy_training'), importlib.import_module('processes')
    steps = [dict(stage, steps=STEPS // len(toy.STAGES)) for stage in toy.STAGES]

    class Slow(Hook):
        """So that a kill hits a save as often as what is between two."""

        def after_micro_batch(self, *args: object, **kwargs: object) -> None:
            time.sleep(_SECONDS)

    def run(folder: Path, resume: bool) -> None:
        settings = {
            'default_hooks.checkpoint.interval': 1,
            'default_hooks.checkpoint.save_last': True,
            'default_hooks.checkpoint.asynchronous': True,
        }
        toy.train(folder, Slow(), stages=steps, resume=resume, **settings)

    draw, hits = random.Random(args.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / 'whole', Path(name) / 'killed'
        begin = time.monotonic()
        assert processes.run(run, whole, False, timeout=3600) == [0]
        span = (time.monotonic() - begin) / (args.kills + 1)
        for kill in range(args.kills):
            (process,) = processes.spawn(run, killed, kill > 0)
            _wait_for_a_save(killed, process, draw.uniform(0, 1.2 * span))
            state = _state(killed)
            if process.exitcode is None:
                os.kill(process.pid, signal.SIGKILL)
                hits[state] += 1
            processes.wait([process])
        assert processes.run(run, killed, True, timeout=3600) == [0]
        wrong = compare(killed, whole)
    for state, count in sorted(hits.items()):
        print(f'{count:4} kills: {state}')
    print(f'{hits.total()} kills, {STEPS} steps: {len(wrong)} things lost or different')
    print('\n'.join(wrong[:20]), end='\n' if wrong else '')
    return int(bool(wrong))


def _wait_for_a_save(folder: Path, process: object, seconds: float) -> None:
    """Wait until the run has begun to save, and then for a random time."""
    before = len(list(folder.glob('iter_*')))
    end = time.monotonic() + 60
    while time.monotonic() < end and process.exitcode is None:  # type: ignore[attr-defined]
        if any(folder.glob('iter_*.tmp')) or len(list(folder.glob('iter_*'))) > before:
            break
        time.sleep(0.001)
    time.sleep(seconds)


def _state(folder: Path) -> str:
    """What a run is doing that is about to be killed."""
    half = list(folder.glob('iter_*.dcp.tmp'))
    if not half:
        return 'between two saves'
    return 'a save with its metadata' if (half[0] / '.metadata').exists() else 'a save half written'


def compare(killed: Path, whole: Path) -> list[str]:
    """A line for everything that a killed run has lost or that differs."""
    from nextvid_mm.cli.check_resume import compare_checkpoints

    records = importlib.import_module('toy_training').read_records
    try:  # a step that was trained twice must be the same both times
        ours, theirs = (records(folder / 'records.jsonl') for folder in (killed, whole))
    except AssertionError:
        return ['a step was trained twice, with other numbers']
    wrong = [f'step {step} differs' for step in theirs if ours.get(step) != theirs[step]]
    return wrong + compare_checkpoints(killed, whole)


if __name__ == '__main__':
    sys.exit(main())
