"""Kill a training run at random moments, resume it each time, and look for any difference."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nextvid_mm.cli.flags import add_shared

if TYPE_CHECKING:
    from rich.console import Console

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

    from nextvid_mm.engine.resume_check import (
        compare_checkpoints,
        compare_traces,
        read_trace,
        run_to_end,
    )

    console = Console(highlight=False, soft_wrap=True)
    whole, killed = args.work_dir / 'whole', args.work_dir / 'killed'
    for path in (whole, killed):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    start = time.perf_counter()
    with console.status(f'training without a kill; log: {whole}/output.log'):
        run_to_end(training_command(args, whole), whole / 'output.log')
    steps = len(read_trace(whole))
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
    from nextvid_mm.engine.resume_check import kill_points, run_with_kills
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
