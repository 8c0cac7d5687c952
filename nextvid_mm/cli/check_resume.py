"""Kill a training run at random moments, resume it each time, and look for any difference."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from subprocess import STDOUT, Popen
from typing import TYPE_CHECKING, Any

from nextvid_mm.checks import check_count
from nextvid_mm.cli.flags import add_shared, option_value
from nextvid_mm.stopping import child

if TYPE_CHECKING:
    from rich.console import Console

_POLL_SECONDS = 0.02

EPILOG = """\
Trains the config twice: once undisturbed, and once with SIGKILL at random moments, drawn evenly
over all steps of the stage table, and --resume after each. Compares losses, gradient norms and
learning rates of every step, and the final weights and optimiser, bit for bit. Exits with 1 if
anything differs.

examples:
  python tools/check_resume.py configs/nextvid/vit-tiny_demo.py --kills 30
  python tools/check_resume.py configs/nextvid/vit-tiny_demo.py --kills 30 --cfg-options \\
      train_cfg.stages.0.steps=15 train_cfg.stages.1.steps=30 train_cfg.stages.2.steps=30 \\
      train_cfg.stages.3.steps=15                        # the same four stages, but short
  python tools/check_resume.py CONFIG --processes 2      # two processes, DDP
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('config', help='config with train_cfg.stages')
    add('--kills', type=int, default=30, help='number of SIGKILLs (default: %(default)s)')
    add('--processes', type=int, default=1, help='training processes (default: %(default)s)')
    add('--interval', type=int, default=5, help='steps between checkpoints (default: %(default)s)')
    add_shared(parser, '--seed', 'of the moments to kill at', default=0)
    folder = Path('work_dirs/check_resume')
    add_shared(parser, '--work-dir', '(replaced if there)', type=Path, default=folder)
    add_shared(parser, '--cfg-options', action='store', default=[])


def training_command(args: argparse.Namespace, work_dir: Path) -> list[str]:
    """The command that trains, or goes on training, in ``work_dir``."""
    from nextvid_mm.config_files import project_folder

    start = [sys.executable, str(project_folder() / 'tools' / 'train.py'), args.config]
    if args.processes > 1:
        launcher = ['-m', 'torch.distributed.run', f'--nproc_per_node={args.processes}']
        start = [sys.executable, *launcher, '--master_port=29541', *start[1:]]
        start += ['--launcher', 'pytorch']
    settings = [f'default_hooks.checkpoint.interval={args.interval}']
    settings += ['default_hooks.trace.type=TraceHook', 'default_hooks.checkpoint.save_last=True']
    flags = ['--work-dir', str(work_dir), '--resume']
    return [*start, *flags, '--cfg-options', *settings, *args.cfg_options]


def run(args: argparse.Namespace) -> int:
    """Run both trainings with a progress bar, compare and report; 1 if anything differs."""
    from rich.console import Console

    from nextvid_mm.progress import progress_bar

    for name, least in dict(kills=0, processes=1, interval=1).items():
        check_count(getattr(args, name), f'--{name}', least)
    if (planned := planned_steps(args)) < 2:
        raise ValueError(f'{args.config} has {planned} step: a kill comes between two of them')
    console = Console(highlight=False, soft_wrap=True)
    whole, killed = args.work_dir / 'whole', args.work_dir / 'killed'
    for path in (whole, killed):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    start, trace = time.perf_counter(), TraceLength(whole)
    with progress_bar('steps', console=console) as bar:
        text = f'training without a kill; log: {whole}/output.log'
        task = bar.add_task(text, total=planned)
        run_to_end(
            training_command(args, whole),
            whole / 'output.log',
            lambda: bar.update(task, completed=trace.look()),
        )
    steps = trace.look()
    per_step = (time.perf_counter() - start) / steps
    hits = kill_and_resume(args, killed, steps, per_step, console)
    found = compare_traces(killed, whole) + compare_checkpoints(killed, whole)
    for line in found[:20]:
        console.print(line)
    console.print(
        f'{len(hits)} kills, {steps} steps, {args.processes} process(es): {len(found)} differences'
    )
    return 1 if found else 0


def kill_and_resume(
    args: argparse.Namespace, work_dir: Path, steps: int, per_step: float, console: Console
) -> list[int]:
    """Train with kills; a kill comes up to ``per_step`` seconds after its step."""
    from nextvid_mm.progress import progress_bar

    draw = random.Random(args.seed)
    points = kill_points(steps, args.kills, draw)
    delays = [draw.uniform(0, per_step) for _ in points]
    with progress_bar('kills', console=console) as progress:
        task = progress.add_task(f'kills; log: {work_dir}/output.log', total=args.kills)
        return run_with_kills(
            training_command(args, work_dir),
            work_dir,
            points,
            delays,
            work_dir / 'output.log',
            lambda step: progress.update(task, advance=1, description=f'killed after step {step}'),
        )


def read_trace(work_dir: Path) -> list[dict[str, Any]]:
    """Lines that ``TraceHook`` has written so far; a half-written last one is left out."""
    from nextvid_mm.engine.hooks.records import TRACE

    path = work_dir / TRACE
    if not path.exists():
        return []
    text = path.read_text(encoding='utf-8')
    return [json.loads(line) for line in text[: text.rfind('\n') + 1].splitlines()]


class TraceLength:
    """How far a trace that grows is; only what is new in it is read.

    Attributes:
        lines: whole ones, at the last look.
        step: of the last of them; 0 without one.
    """

    def __init__(self, work_dir: Path) -> None:
        from nextvid_mm.engine.hooks.records import TRACE

        self._path, self._read = work_dir / TRACE, 0
        self.lines = self.step = 0

    def look(self) -> int:
        """Look again; the number of lines."""
        if not self._path.exists() or self._path.stat().st_size <= self._read:
            return self.lines
        with open(self._path, 'rb') as file:
            file.seek(self._read)
            new = file.read()
        new = new[: new.rfind(b'\n') + 1]
        if new:
            self._read += len(new)
            self.lines += new.count(b'\n')
            self.step = int(json.loads(new.splitlines()[-1])['step'])
        return self.lines


def planned_steps(args: argparse.Namespace) -> int:
    """Optimiser steps of the config with its overrides."""
    from nextvid_mm.config_files import checked_config

    pairs = (word.partition('=') for word in args.cfg_options)
    options = {key: option_value(text) for key, _, text in pairs}
    stages = checked_config(args.config, options).train_cfg.stages
    return sum(stage.steps for stage in stages)


def run_to_end(
    command: Sequence[str], log: Path, watch: Callable[[], object] = lambda: None
) -> None:
    """Run a command, call ``watch`` now and then; raise with the end of its output if it fails.

    Raises:
        ChildProcessError: If the command does not return 0.
    """
    with open(log, 'ab') as output, child(command, stdout=output, stderr=STDOUT) as process:
        while (code := process.poll()) is None:
            watch()
            time.sleep(_POLL_SECONDS)
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
        with open(log, 'ab') as output, child(command, stdout=output, stderr=STDOUT) as process:
            step = _wait_for(process, work_dir, point)
            time.sleep(delay)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                hits.append(step)
                report(step)
            elif process.returncode:
                raise ChildProcessError(_failed(command, process.returncode, log))
    run_to_end(command, log)
    return hits


def _wait_for(process: Popen, work_dir: Path, point: int) -> int:
    """Wait until this process has trained beyond ``point`` or ended; return the last step."""
    trace = TraceLength(work_dir)
    before = trace.look()
    while True:
        ended = process.poll() is not None
        # What an earlier process has trained beyond the point does not count for this one.
        if (trace.look() > before and trace.step >= point) or ended:
            return trace.step
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
    from nextvid_mm.models.checkpoints import read_file
    from nextvid_mm.run_folder import newest_checkpoint

    return read_file(newest_checkpoint(str(work_dir)))


def _differences(one: Any, two: Any, where: str) -> Iterator[str]:
    import torch
    from torch import Tensor

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
