"""Pretrains and probes every row for every seed; what is done is not done again.

A run is ``tools/train.py`` in a process of its own, of one thread, which is also how a user would
start it. All rows see the same clips in the same order for the same number of steps, and probes
stand on the *trained* encoder (not the EMA, which some rows do not have).
"""

from __future__ import annotations

import json
import platform
import queue
import re
import shutil
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import Progress, TaskID

from nextvid_mm.config_files import find_config, project_folder
from nextvid_mm.demo.ablations.curves import Prober
from nextvid_mm.demo.ablations.results import (
    Budget,
    RunResult,
    check_folder,
    read_folder,
    result_file,
    write_result,
)
from nextvid_mm.demo.ablations.tables import Row
from nextvid_mm.demo.following import follow
from nextvid_mm.files import write_text
from nextvid_mm.layers.precision import fast_dtype
from nextvid_mm.progress import progress_bar, quiet_log
from nextvid_mm.registry import SCOPE
from nextvid_mm.stopping import end_children

_LAST_LINES = 15
#: Two runs of two threads each took ten times as long as two of one thread. Loading in the same
#: process makes its time part of the run's processor time.
THREADS = 1
_ALL_RUNS = {
    'train_dataloader.num_workers': 0,
    'train_dataloader.persistent_workers': False,
    'default_hooks.moments.type': 'MomentHook',
}
_UNTRAINED: dict[str, Any] = dict(step=0, clips=0, cpu_seconds=0.0, seconds=0.0, losses={})


def run_rows(
    work_dir: Path,
    rows: Sequence[Row],
    seeds: Sequence[int],
    budget: Budget,
    jobs: int = 1,
    results: Path | None = None,
) -> list[RunResult]:
    """Run what is missing and return all results, seed by seed.

    Args:
        work_dir: each run has the folder ``ROW/seed_N`` below it, until it is done.
        rows: what to run.
        seeds: every row is run with each.
        budget: the same for all rows.
        jobs: runs at a time, of one thread each.
        results: folder of the results, one file a run; None takes ``work_dir``.

    Raises:
        ValueError: if ``work_dir`` or ``results`` holds runs of another budget, or of a row as it
            was once.
        ChildProcessError: if a pretraining fails.
    """
    init_default_scope(SCOPE)
    results = results or work_dir
    work_dir.mkdir(parents=True, exist_ok=True)
    results.mkdir(parents=True, exist_ok=True)
    _claim(work_dir, budget)
    check_folder(results, rows, budget)
    runs = [Run(work_dir, row, seed, budget) for seed in seeds for row in rows]
    todo = [run for run in runs if not result_file(results, run.row.name, run.seed).is_file()]
    if todo:
        with progress_bar('steps', speed_estimate_period=600.0) as progress:
            _run_all(todo, Prober(budget.probe_options, THREADS), jobs, progress, results)
    return read_folder(results, rows, seeds, budget)


def _claim(work_dir: Path, budget: Budget) -> None:
    """Write down the budget of a folder's runs, or compare with what is written."""
    file, mine = work_dir / 'budget.json', json.loads(json.dumps(asdict(budget)))
    if file.is_file() and (theirs := json.loads(file.read_text())) != mine:
        raise ValueError(
            f'{work_dir} holds runs of another budget, {theirs}, asked for is {mine}: rows must be '
            'given the same; use another --work-dir'
        )
    write_text(file, json.dumps(mine, indent=2) + '\n')


def _run_all(
    todo: Sequence[Run], prober: Prober, jobs: int, progress: Progress, results: Path
) -> None:
    """Pretrain in ``jobs`` threads that wait for processes; probe here, while such a one waits."""
    total = progress.add_task('steps of all runs', total=sum(run.table_steps for run in todo))
    waiting: queue.SimpleQueue[Run] = queue.SimpleQueue()
    trained: queue.SimpleQueue[Run | BaseException] = queue.SimpleQueue()
    probed = threading.Semaphore(0)
    for run in todo:
        waiting.put(run)

    def work() -> None:
        while True:
            try:
                run = waiting.get_nowait()
                run.pretrain(progress, total)
                trained.put(run)
            except queue.Empty:
                return
            except BaseException as error:  # raised again below
                trained.put(error)
                return
            probed.acquire()

    for _ in range(jobs):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in todo:
            found = trained.get()
            if isinstance(found, BaseException):
                raise found
            result = found.probe(prober)
            write_result(result_file(results, found.row.name, found.seed), result)
            found.clear()
            shown = ', '.join(f'{key} {value:.1f}' for key, value in result.last.top1.items())
            progress.console.print(
                f'{found.row.title}, seed {found.seed}: {shown} % ({result.last.cpu_seconds:.0f} s)'
            )
            probed.release()
    except BaseException:
        end_children()
        raise


class Run:
    """One row with one seed.

    Args:
        work_dir: of the comparison.
        row: what to pretrain.
        seed: of pretraining and probe.
        budget: steps and overrides.
    """

    def __init__(self, work_dir: Path, row: Row, seed: int, budget: Budget):
        self.row, self.seed, self.budget = row, seed, budget
        self.folder = work_dir / row.name / f'seed_{seed}'
        self.options: dict[str, Any] = {}
        self.table_steps = 0
        if row.config is None:
            return
        with quiet_log():
            config = Config.fromstring(at_demo_scale(find_config(row.config)), '.py')
        config.merge_from_dict(budget.options)
        self.options = dict(_ALL_RUNS) | budget.options | dict(row.options)
        for place, stage in enumerate(config.train_cfg.stages):
            steps = max(1, round(stage.steps * budget.steps_scale * row.steps))
            self.table_steps += steps
            self.options[f'train_cfg.stages.{place}.steps'] = steps
            for key in ('lr', 'flow_lr') if row.rate != 1 else ():
                if (rates := stage.get(key)) is not None:
                    scaled = [float(f'{lr * row.rate:.3g}') for lr in np.broadcast_to(rates, 2)]
                    self.options[f'train_cfg.stages.{place}.{key}'] = scaled

    def pretrain(self, progress: Progress, total: TaskID) -> None:
        """Train or go on training, unless the row is not trained."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.row.config is None:
            return
        script = project_folder() / 'tools/train.py'
        config = self.folder.with_name(f'{self.row.name}.py')
        write_text(config, at_demo_scale(find_config(self.row.config)))
        command = [sys.executable, str(script), str(config), '--work-dir', str(self.folder)]
        command += ['--seed', str(self.seed), '--resume', '--cfg-options']
        command += [f'{key}={value}'.replace(' ', '') for key, value in self.options.items()]
        log = self.folder / 'train.log'
        task = progress.add_task(f'{self.row.name}, seed {self.seed}', total=self.table_steps)
        code = follow(command, log, progress, (task, total), threads=THREADS)
        # A run that was resumed at its end has said nothing of its steps.
        progress.advance(total, self.table_steps - progress.tasks[task].completed)
        progress.update(task, visible=False)
        if code:
            end = ''.join(log.read_text().splitlines(keepends=True)[-_LAST_LINES:])
            raise ChildProcessError(
                f'{self.row.name}, seed {self.seed}: training ended with code {code}; the end of '
                f'{log}:\n{end}'
            )

    def probe(self, prober: Prober) -> RunResult:
        """Probe the encoder's moments."""
        row, folder = self.row, self.folder / 'probe'
        if row.config is None:
            moments = [prober.moment(_UNTRAINED, None, folder, self.seed, dict(row.options))]
        else:
            moments = prober.curve(self.folder, self.seed)
        return RunResult(row.name, row.setting, self.seed, asdict(self.budget), moments, machine())

    def clear(self) -> None:
        """Remove what the curve has been read from; the last checkpoint and the logs stay."""
        for name in ('moments', 'probe'):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def machine() -> dict[str, Any]:
    """What computed a result.

    Processors of one name differ in speed: family and model tell them apart where Linux does.
    """
    text = Path('/proc/cpuinfo').read_text() if Path('/proc/cpuinfo').is_file() else ''
    fields = dict(re.findall(r'^(model name|cpu family|model)\s*:\s*(.+)$', text, re.MULTILINE))
    kind = [f'{key} {fields[key]}' for key in ('cpu family', 'model') if key in fields]
    return dict(
        processor=', '.join([fields.get('model name', platform.processor()), *kind]),
        bfloat16=fast_dtype('cpu') is torch.bfloat16,
        threads=THREADS,
        torch=torch.__version__,
    )


def at_demo_scale(path: Path) -> str:
    """Text of a row's config over the demo's model, data and schedule instead of the paper's.

    Args:
        path: the config, whose bases are those of the paper's scale; a baseline's are the demo's
            already.

    Returns:
        The same lines with absolute paths of the bases: a config that may stand anywhere.
    """
    text, configs = path.read_text(encoding='utf-8'), path.resolve().parents[1].as_posix()
    text = text.replace("'../_base_/ablations/paper", "'../_base_/ablations/demo")
    return text.replace("'../", f"'{configs}/")
