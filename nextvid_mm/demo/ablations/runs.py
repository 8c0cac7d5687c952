"""Pretrains and probes every row for every seed; what is done is not done again.

A run is ``tools/train.py`` in a process of its own, which is also how a user would start it. All
rows see the same clips in the same order for the same number of steps, and the probe stands on the
*trained* encoder (not the EMA, which some rows do not have).
"""

from __future__ import annotations

import copy
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.progress import Progress, TaskID

from nextvid_mm.config_files import find_config, project_folder
from nextvid_mm.demo.ablations.tables import Row
from nextvid_mm.demo.run import PRETRAIN, PROBE, fixed_top1, probe_settings
from nextvid_mm.engine.probe.training import fit_probe
from nextvid_mm.files import write_text
from nextvid_mm.progress import progress_bar, quiet_log
from nextvid_mm.registry import SCOPE
from nextvid_mm.stopping import child, end_children

_STEP = re.compile(r'Iter\(train\) \[\s*(\d+)/(\d+)\]')
_LAST_LINES = 15


@dataclass(frozen=True)
class Budget:
    """What every row is given.

    Attributes:
        steps_scale: factor on the steps of every stage of the demo's schedule.
        options: overrides of all pretraining configs, by dotted key.
        probe_options: overrides of the probe config.
    """

    steps_scale: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    probe_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.steps_scale > 0:
            raise ValueError(f'steps_scale={self.steps_scale} must be larger than 0')


@dataclass(frozen=True)
class RunResult:
    """What one row gave with one seed.

    Attributes:
        row: name of the row.
        seed: of pretraining, untrained weights and probe.
        top1: best probe of the grid on validation, %.
        fixed_top1: the grid's fixed member, %.
        steps: optimiser steps.
        clips: clips trained on.
        train_seconds: pretraining by the clock, with start-up and whatever ran beside it; of a run
            that was interrupted, the last part.
    """

    row: str
    seed: int
    top1: float
    fixed_top1: float
    steps: int
    clips: int
    train_seconds: float


def run_rows(
    work_dir: Path,
    rows: Sequence[Row],
    seeds: Sequence[int],
    budget: Budget,
    jobs: int = 1,
) -> list[RunResult]:
    """Run what is missing and return all results, seed by seed.

    Args:
        work_dir: each run has the folder ``ROW/seed_N`` below it.
        rows: what to run.
        seeds: every row is run with each.
        budget: the same for all rows.
        jobs: pretrainings at a time, which share the threads of the machine.

    Raises:
        ValueError: if ``work_dir`` holds results of another budget.
        ChildProcessError: if a pretraining fails.
    """
    init_default_scope(SCOPE)
    work_dir.mkdir(parents=True, exist_ok=True)
    _claim(work_dir, budget)
    runs = [Run(work_dir, row, seed, budget) for seed in seeds for row in rows]
    todo = [run for run in runs if not run.result_file.is_file()]
    if todo:
        probe = Config.fromfile(find_config(PROBE))
        probe.merge_from_dict(budget.probe_options)
        with (
            progress_bar('steps', speed_estimate_period=600.0) as progress,
            ThreadPoolExecutor(jobs) as pool,
        ):
            _run_all(todo, probe, jobs, progress, pool)
    return [run.read() for run in runs]


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
    todo: Sequence[Run], probe: Config, jobs: int, progress: Progress, pool: ThreadPoolExecutor
) -> None:
    """Pretrain in the pool, probe here as runs end."""
    total = progress.add_task('steps of all runs', total=sum(run.table_steps for run in todo))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(threads)  # probes run beside the trainings
    futures = {pool.submit(run.pretrain, threads, progress, total): run for run in todo}
    try:
        short = probe_settings(probe)
        for future in as_completed(futures):
            seconds, run = future.result(), futures[future]
            result = run.probe(short, seconds)
            progress.console.print(
                f'{run.row.title}, seed {run.seed}: {result.top1:.1f} % ({seconds:.0f} s)'
            )
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
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
        self.result_file = self.folder / 'result.json'
        self.stages: list[dict] = []
        if row.config is not None:
            with quiet_log():
                config = Config.fromstring(at_demo_scale(find_config(row.config)), '.py')
            config.merge_from_dict(budget.options)
            scale = budget.steps_scale
            for stage in config.train_cfg.stages:
                self.stages.append(dict(stage, steps=max(1, round(stage.steps * scale))))

    @property
    def table_steps(self) -> int:
        """Optimiser steps of the run."""
        return sum(stage['steps'] for stage in self.stages)

    def pretrain(self, threads: int, progress: Progress, total: TaskID) -> float:
        """Train or go on training, unless the row is not trained; returns seconds."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.row.config is None:
            return 0.0
        start = time.perf_counter()
        script = project_folder() / 'tools/train.py'
        config = self.folder.with_name(f'{self.row.name}.py')
        write_text(config, at_demo_scale(find_config(self.row.config)))
        command = [sys.executable, str(script), str(config), '--work-dir', str(self.folder)]
        command += ['--seed', str(self.seed), '--resume', '--cfg-options']
        command += [f'{key}={value}'.replace(' ', '') for key, value in self.budget.options.items()]
        command += [f'train_cfg.stages.{i}.steps={s["steps"]}' for i, s in enumerate(self.stages)]
        log = self.folder / 'train.log'
        task = progress.add_task(f'{self.row.name}, seed {self.seed}', total=self.table_steps)
        code = follow(command, threads, log, progress, (task, total))
        # A run that was resumed at its end has said nothing of its steps.
        progress.advance(total, self.table_steps - progress.tasks[task].completed)
        progress.update(task, visible=False)
        if code:
            end = ''.join(log.read_text().splitlines(keepends=True)[-_LAST_LINES:])
            raise ChildProcessError(
                f'{self.row.name}, seed {self.seed}: training ended with code {code}; the end of '
                f'{log}:\n{end}'
            )
        return time.perf_counter() - start

    def probe(self, config: Config, seconds: float) -> RunResult:
        """Probe the encoder and write the result down."""
        checkpoint, weights = None, 'untrained'
        if self.row.config is not None:
            name = (self.folder / 'last_checkpoint').read_text().strip()
            checkpoint, weights = str(self.folder / name), 'encoder'
        elif config.model.backbone is None:
            config = copy.deepcopy(config)
            config.model.backbone = Config.fromfile(find_config(PRETRAIN)).model.backbone
        folder = self.folder / 'probe'
        record = fit_probe(
            config, checkpoint, folder, self.seed, folder / 'features', encoder_weights=weights
        )
        result = RunResult(
            row=self.row.name,
            seed=self.seed,
            top1=record['top1'],
            fixed_top1=fixed_top1(record),
            steps=self.table_steps,
            clips=sum(stage['steps'] * stage['batch_size'] for stage in self.stages),
            train_seconds=seconds,
        )
        # Whole or not at all: the file says that the run is done.
        write_text(self.result_file, json.dumps(asdict(result), indent=2) + '\n')
        return result

    def read(self) -> RunResult:
        """The result of a run that is done."""
        return RunResult(**json.loads(self.result_file.read_text()))


def follow(
    command: Sequence[str], threads: int, log: Path, progress: Progress, tasks: Sequence[TaskID]
) -> int:
    """Run a training, keep what it prints in ``log`` and move progress bars; returns its code.

    Args:
        command: program and arguments.
        threads: for PyTorch.
        log: appended to.
        progress: where the bars are.
        tasks: bars that move by one for each optimiser step that the training reports.
    """
    environment = os.environ | {'OMP_NUM_THREADS': str(threads)}
    done = 0
    with (
        open(log, 'a', buffering=1, encoding='utf-8') as file,
        child(command, stdout=PIPE, stderr=STDOUT, text=True, env=environment) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if found := _STEP.search(line):
                for task in tasks:
                    progress.advance(task, int(found[1]) - done)
                done = int(found[1])
    return process.returncode


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
