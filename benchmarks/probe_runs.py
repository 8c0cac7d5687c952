"""What the probe protocol costs as a whole: a grid or one probe, online or on cached features."""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor

from benchmarks.memory import MIB, in_new_process
from benchmarks.probing import build_recognizer
from benchmarks.report import Report
from benchmarks.resident import peak_since, start_measuring
from benchmarks.timing import ratio, side_by_side, timed
from benchmarks.workload import TUBELET, Workload
from nextvid_mm.engine.probe.results import RESULTS
from nextvid_mm.models.heads.probe_head import build_grid, find_member
from nextvid_mm.registry import SCOPE


def compare_grid(config: Config, encoder: str, repeats: int = 5, clock: str = 'wall') -> Report:
    """Time training a grid of probes online for an epoch, against its fixed member alone.

    Loading, the frozen encoder, the probes and their optimiser are all in it. Everything happens
    in this process, without loader workers.

    Args:
        config: a probe config.
        encoder: checkpoint with the encoder.
        repeats: timed epochs of each.
        clock: ``wall`` or ``cpu``.
    """
    with tempfile.TemporaryDirectory() as folder:
        grid = _runner(config, encoder, Path(folder, 'grid'))
        single = fixed_member_alone(config.model.cls_head)
        changes = {f'model.cls_head.{key}': value for key, value in single.items()}
        alone = _runner(config, encoder, Path(folder, 'alone'), **changes)
        names = f'grid of {len(grid.model.cls_head.members)}', 'one probe'
        series = side_by_side(
            {names[0]: lambda: _epoch(grid), names[1]: lambda: _epoch(alone)},
            repeats,
            1,
            clock,
            'one epoch, online',
        )
    report = Report(
        'one epoch of probe training, online',
        dict(repeats=repeats, clock=clock, encoder=encoder, threads=torch.get_num_threads()),
        ('what', 'median s', '±', 'over one probe'),
    )
    for name, values in series.items():
        times = ratio(values, series[names[1]]).median
        report.add(what=name, **values.row, **{'over one probe': times})
    return report


def compare_cached(
    config: Config,
    encoder: str,
    epochs: int = 20,
    seeds: Sequence[int] = (0, 1, 2),
    clock: str = 'wall',
) -> Report:
    """Train online and on cached features, once per seed; time it and evaluate both.

    The whole grid, and its fixed member alone: what probes cost themselves is the same in both
    modes, and bounds what a cache can save. Timed is everything from the config to the trained
    probes, with an empty cache; evaluation, equal in both, is not.

    Args:
        config: a probe config.
        encoder: checkpoint with the encoder.
        epochs: of training.
        seeds: of the runs.
        clock: ``wall`` or ``cpu``.
    """
    report = Report(
        f'{epochs} epochs of probe training, online and on cached features',
        dict(seeds=list(seeds), clock=clock, encoder=encoder, threads=torch.get_num_threads()),
        ('probes', 'seed', 'online s', 'cached s', 'times', 'online top-1', 'cached top-1'),
    )
    whole, alone = config.model.cls_head, fixed_member_alone(config.model.cls_head)
    for head in (whole, whole | alone):
        probes = len(build_grid(head.lrs, head.weight_decays))
        changes = {f'model.cls_head.{key}': head[key] for key in alone}
        rows = [
            _train_both(config, encoder, epochs, clock, changes | {'randomness.seed': seed})
            for seed in seeds
        ]
        for seed, row in zip(seeds, rows, strict=True):
            report.add(probes=probes, seed=seed, **row)
        for name in ('online', 'cached'):
            values = [row[f'{name} top-1'] for row in rows]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            mean = statistics.mean(values)
            report.notes.append(f'{name}, {probes} probe(s): top-1 {mean:.2f} ± {spread:.2f} %')
    return report


def _train_both(
    config: Config, encoder: str, epochs: int, clock: str, changes: dict[str, Any]
) -> dict[str, float]:
    """Columns of one row of ``compare_cached``."""
    changes = changes | {'train_cfg.max_epochs': epochs}
    seconds, top1 = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in ('online', 'cached'):
            features = str(Path(folder, 'features')) if name == 'cached' else None
            settings = changes | {'train_cfg.features': features}
            train = partial(_train, config, encoder, Path(folder, name), epochs, settings)
            runner, duration = timed(train, clock)
            seconds.append(duration)
            runner.val_loop.run()
            top1.append(_top1(Path(folder, name)))
    slow, fast = seconds
    row = {'online s': slow, 'cached s': fast, 'times': slow / fast}
    return row | {'online top-1': top1[0], 'cached top-1': top1[1]}


def _train(
    config: Config, encoder: str, work_dir: Path, epochs: int, changes: dict[str, Any]
) -> Runner:
    """Everything from the config to the trained probes, without a validation."""
    runner = _runner(config, encoder, work_dir, **changes)
    for _ in range(epochs):
        runner.train_loop.run_epoch()
    return runner


def fixed_member_alone(head: ConfigDict) -> dict[str, list[float]]:
    """Keys that reduce a ``ProbeHead`` to its fixed member."""
    members = build_grid(head.lrs, head.weight_decays)
    index = find_member(members, head.get('fixed_member'), head.lrs, head.weight_decays)
    return dict(lrs=[members[index].lr], weight_decays=[members[index].weight_decay])


def compare_views(
    workload: Workload, views: Sequence[int] = (1, 3, 9), device: str = 'cpu', repeats: int = 3
) -> Report:
    """Peak memory of evaluating one batch, by the number of spatial views per video.

    The loader's own bytes, which do grow with the views, are in memory before the measurement.

    Args:
        workload: encoder, clip and batch.
        views: numbers of views.
        device: where.
        repeats: processes measured for each.
    """
    report = Report(
        f'peak memory of a test step above its input, {workload.size} encoder, batch of '
        f'{workload.batch} videos',
        vars(workload) | dict(repeats=repeats, device=device),
        ('views', 'MiB', 'input MiB', 'over the first'),
    )
    for count in views:
        peaks = [in_new_process(_test_peak, workload, count, device) for _ in range(repeats)]
        size = count * workload.batch * 3 * workload.frames * workload.pixels**2
        row = {'MiB': statistics.median(peaks) / MIB, 'input MiB': size / MIB}
        report.add(views=count, **row, bytes=peaks)
    for row in report.rows:
        row['over the first'] = row['MiB'] / report.rows[0]['MiB']
    return report


def _test_peak(workload: Workload, views: int, device: str) -> int:
    """Bytes a test step adds at its peak."""
    init_default_scope(SCOPE)
    model = build_recognizer(workload, 174).to(device).eval()
    clip = 3, workload.frames, workload.pixels, workload.pixels

    def step(count: int, clips: list[Tensor]) -> None:
        with torch.no_grad():
            model.test_step(dict(inputs=[c[:count] for c in clips], data_samples=_samples(clips)))

    inputs = [torch.randint(256, (views, *clip), dtype=torch.uint8) for _ in range(workload.batch)]
    step(1, [clips[:, :, :TUBELET] for clips in inputs[:1]])  # loads libraries and kernels
    before = start_measuring()
    step(views, inputs)
    return peak_since(before, device)


def _samples(clips: list[Tensor]) -> list[Any]:
    return [ActionDataSample().set_gt_label(0) for _ in clips]


def _config(config: Config, encoder: str, work_dir: Path, **changes: Any) -> Config:
    """The config for a run in this process that logs only warnings."""
    made = config.copy()
    made.merge_from_dict(
        {
            'model.encoder': encoder,
            'work_dir': str(work_dir),
            'log_level': 'WARNING',
            'default_hooks.checkpoint.interval': -1,
            'default_hooks.checkpoint.save_last': False,
        }
    )
    for split in ('train', 'val', 'test'):
        made[f'{split}_dataloader'].update(num_workers=0, persistent_workers=False)
    made.visualizer.vis_backends = []
    made.experiment_name = f'{work_dir}'.replace('/', '_')
    made.merge_from_dict(changes)
    return made


def _runner(config: Config, encoder: str, work_dir: Path, **changes: Any) -> Runner:
    """A Runner ready to train, with its encoder loaded."""
    runner = Runner.from_cfg(_config(config, encoder, work_dir, **changes))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner._val_loop = runner.build_val_loop(runner._val_loop)
    runner.call_hook('before_run')
    runner._init_model_weights()
    runner.optim_wrapper.initialize_count_status(
        runner.model, runner.train_loop.iter, runner.train_loop.max_iters
    )
    runner.call_hook('before_train')
    runner.train_loop.prepare()
    return runner


def _epoch(runner: Runner) -> None:
    runner.train_loop._epoch = runner.train_loop._iter = 0  # the same epoch again
    runner.train_loop.run_epoch()


def _top1(work_dir: Path) -> float:
    return float(json.loads((work_dir / RESULTS).read_text())['top1'])
