"""Kills a training run again and again and compares what comes out with an undisturbed one."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nextvid_mm.engine.hooks.records import TRACE

_POLL_SECONDS = 0.02


def read_trace(work_dir: Path) -> list[dict[str, Any]]:
    """Lines that ``TraceHook`` has written so far; a half-written last one is left out."""
    path = work_dir / TRACE
    if not path.exists():
        return []
    text = path.read_text(encoding='utf-8')
    return [json.loads(line) for line in text[: text.rfind('\n') + 1].splitlines()]


def run_to_end(command: Sequence[str], log: Path) -> None:
    """Run a command; raise with the end of its output if it fails.

    Raises:
        ChildProcessError: If the command does not return 0.
    """
    with open(log, 'ab') as output:
        code = subprocess.call(command, stdout=output, stderr=subprocess.STDOUT)
    if code:
        raise ChildProcessError(_failed(command, code, log))


def _failed(command: Sequence[str], code: int, log: Path) -> str:
    tail = '\n'.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-15:])
    return f'{" ".join(command)} ended with {code}; the end of {log}:\n{tail}'


def kill_points(steps: int, kills: int, draw: random.Random) -> list[int]:
    """Steps after which to kill, drawn evenly over the whole run, in rising order."""
    return sorted(draw.randrange(1, steps) for _ in range(kills))


def run_with_kills(
    command: Sequence[str],
    work_dir: Path,
    points: Sequence[int],
    delays: Sequence[float],
    log: Path,
    report: Callable[[int], None] = lambda step: None,
) -> list[int]:
    """Start a command over and over, and kill it and its children with SIGKILL at each point.

    Args:
        command: Trains in ``work_dir`` with ``TraceHook`` and ``--resume``.
        work_dir: Where the trace appears.
        points: Steps from :func:`kill_points`.
        delays: Seconds from the end of such a step to the kill, which may then hit anything: a
            forward pass, a save, the loader.
        log: File for all output.
        report: Called after each kill with the last step recorded.

    Returns:
        The last recorded step at each kill; fewer than ``points`` if the run was complete before.

    Raises:
        ChildProcessError: If the command fails by itself.
    """
    hits = []
    for point, delay in zip(points, delays, strict=True):
        with open(log, 'ab') as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        step = _wait_for(process, work_dir, point)
        time.sleep(delay)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            hits.append(step)
            report(step)
        elif process.returncode:
            raise ChildProcessError(_failed(command, process.returncode, log))
        process.wait()
    run_to_end(command, log)
    return hits


def _wait_for(process: subprocess.Popen, work_dir: Path, point: int) -> int:
    """Wait until this process has trained beyond ``point`` or ended; return the last step."""
    before = len(read_trace(work_dir))
    while True:
        ended = process.poll() is not None
        lines = read_trace(work_dir)
        # What an earlier process has trained beyond the point does not count for this one.
        if ended or (len(lines) > before and lines[-1]['step'] >= point):
            return int(lines[-1]['step']) if lines else 0
        time.sleep(_POLL_SECONDS)


def compare_traces(ours: Path, theirs: Path) -> list[str]:
    """A line for each step whose losses, gradient norm or learning rates differ, or is missing.

    Args:
        ours: Work directory of the run with kills; steps it trained twice must agree both times.
        theirs: Of the undisturbed run.
    """
    expected = {line['step']: line for line in read_trace(theirs)}
    found = read_trace(ours)
    missing = sorted(set(expected) - {line['step'] for line in found})
    differences = [f'step {step}: never trained' for step in missing]
    for line in found:
        if line != expected.get(line['step']):
            differences.append(f'step {line["step"]}: {line}, not {expected.get(line["step"])}')
    return differences


def compare_checkpoints(ours: Path, theirs: Path) -> list[str]:
    """A line for each tensor of the last checkpoints' weights and optimisers that differs."""
    one, two = (_last_checkpoint(path) for path in (ours, theirs))
    return [
        difference
        for key in ('state_dict', 'optimizer')
        for difference in _differences(one[key], two[key], key)
    ]


def _last_checkpoint(work_dir: Path) -> dict[str, Any]:
    path = Path((work_dir / 'last_checkpoint').read_text().strip())
    return torch.load(path, map_location='cpu', weights_only=True)


def _differences(one: Any, two: Any, where: str) -> Iterator[str]:
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        if one.shape != two.shape or not torch.equal(one, two):
            yield f'{where} differs'
    elif isinstance(one, dict) and isinstance(two, dict):
        for key in sorted(one.keys() | two.keys(), key=str):
            yield from _differences(one.get(key), two.get(key), f'{where}.{key}')
    elif isinstance(one, list | tuple) and isinstance(two, list | tuple):
        if len(one) != len(two):
            yield f'{where}: {len(one)} entries, not {len(two)}'
        for place, pair in enumerate(zip(one, two, strict=False)):
            yield from _differences(*pair, f'{where}.{place}')
    elif one != two:
        yield f'{where}: {one!r}, not {two!r}'
