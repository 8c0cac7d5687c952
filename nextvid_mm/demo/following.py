"""A training as a process of its own: its steps move bars, its lines go to a file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import PIPE, STDOUT

from rich.progress import Progress, TaskID

from nextvid_mm.stopping import child

_STEP = re.compile(r'Iter\(train\) \[\s*(\d+)/(\d+)\]')
# Stages, warnings and the last line of a tool that ends: what is worth a line beside the bar.
_SAID = re.compile(
    r'^(?:\S+ \S+ - mmengine - (?:INFO - (?=Stage \d)|(?=WARNING|ERROR))|(?=train: ))(.*)'
)


def follow(
    command: Sequence[str],
    log: Path,
    progress: Progress,
    tasks: Sequence[TaskID],
    threads: int | None = None,
    say: Callable[[str], None] | None = None,
) -> int:
    """Run a training, keep what it prints in ``log`` and move progress bars; returns its code.

    Args:
        command: program and arguments.
        log: appended to.
        progress: where the bars are.
        tasks: bars that move by one for each optimiser step that the training reports; one without
            a total gets the training's.
        threads: for PyTorch; None for its own choice.
        say: called with lines that a person should see at once: stages, warnings, the last word.
    """
    environment = os.environ | ({} if threads is None else {'OMP_NUM_THREADS': str(threads)})
    done = 0
    with (
        open(log, 'a', buffering=1, encoding='utf-8') as file,
        child(command, stdout=PIPE, stderr=STDOUT, text=True, env=environment) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if found := _STEP.search(line):
                for task in tasks:
                    if progress.tasks[task].total is None:
                        progress.update(task, total=int(found[2]), completed=done)
                    progress.advance(task, int(found[1]) - done)
                done = int(found[1])
            elif say is not None and (found := _SAID.match(line)):
                say(found[1])
    return process.returncode
