"""The demo: generated data, four-stage pretraining, probes, a table, pictures and a report."""

from __future__ import annotations

import copy
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table

from nextvid_mm.config_files import find_config, project_folder
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.demo.following import follow
from nextvid_mm.engine.probe.training import fit_probe
from nextvid_mm.files import write_text
from nextvid_mm.layers import load_exactly
from nextvid_mm.models.checkpoints import read_checkpoint, read_config
from nextvid_mm.progress import progress_bar
from nextvid_mm.registry import MODELS, SCOPE, require_registered
from nextvid_mm.report import write_report
from nextvid_mm.report.own import own_clips
from nextvid_mm.run_folder import newest_checkpoint
from nextvid_mm.visualization import generation_sheet

PRETRAIN = 'configs/nextvid/vit-tiny_demo.py'
PROBE = 'configs/probe/demo.py'
# The questions: how something moves, in videos; what is to be seen, in stills.
PROBES = {'how': PROBE, 'what': 'configs/probe/demo_what.py'}
DATA = 'data/demo'
# Steps between pictures of the pretraining, the first of them after two or three minutes.
PICTURES = 100
SHOW = (
    'default_hooks.pictures.type=GenerationVisHook',
    f'default_hooks.pictures.interval={PICTURES}',
)
# Rows of the table, and how each differs from probing the pretrained encoder.
ROWS: dict[str, dict[str, Any]] = {
    'pretrained': {},
    'untrained': dict(encoder_weights='untrained'),
    'pretrained, single frame': dict(single_frame=True),
}


class PretrainingError(ChildProcessError):
    """The pretraining, a process of its own, ended with an error that it has printed."""


@dataclass(frozen=True)
class DemoResult:
    """What one seed gave.

    Attributes:
        seed: of pretraining, untrained weights and probes.
        top1: best probe of the grid on validation, %, by row of the table: *how*.
        fixed_top1: the grid's fixed member, %, by row.
        seconds: by phase.
        what: as ``top1``, of the second question.
    """

    seed: int
    top1: dict[str, float]
    fixed_top1: dict[str, float]
    seconds: dict[str, float]
    what: dict[str, float]


def run_demo(
    work_dir: Path,
    seeds: Sequence[int],
    options: Sequence[str] = (),
    spec: DemoSpec | None = None,
    probe_options: Mapping[str, Any] | None = None,
) -> list[DemoResult]:
    """Run everything; a finished pretraining is kept, an interrupted one continues.

    Args:
        work_dir: one folder per seed goes here, with ``results.json`` beside them; data goes to
            ``data/demo`` below the current folder, where the configs look for it.
        seeds: one pretraining and one set of probes for each.
        options: ``KEY=VALUE`` overrides of the pretraining config.
        spec: the dataset to generate.
        probe_options: overrides of both probe configs.

    Raises:
        PretrainingError: if a pretraining fails.
    """
    init_default_scope(SCOPE)
    console = Console(highlight=False)
    console.rule('1/4 data')
    make_demo_data(DATA, spec or DemoSpec())
    probes = {question: Config.fromfile(find_config(path)) for question, path in PROBES.items()}
    for probe in probes.values():
        probe.merge_from_dict(dict(probe_options or {}))
    results = []
    for seed in seeds:
        folder = work_dir / f'seed_{seed}'
        console.rule(f'2/4 pretraining in four stages, seed {seed}')
        pictures = folder / '*' / 'vis_data' / 'vis_image'
        console.print(f'generated frames every {PICTURES} steps: {pictures}', soft_wrap=True)
        start = time.perf_counter()
        checkpoint = pretrain(folder, seed, [*options, *SHOW], console)
        seconds = dict(pretraining=time.perf_counter() - start)
        console.rule(f'3/4 attentive probes on frozen encoders, seed {seed}')
        results.append(probe_rows(probes, checkpoint, seed, seconds, console))
        console.rule('4/4 pictures')
        trained = read_config(folder / Path(PRETRAIN).name)  # with the options in it
        require_registered(trained.to_dict(), str(folder / Path(PRETRAIN).name))
        sheet = draw_sheet(trained, checkpoint, folder / 'generated.png')
        console.print(f'input, mask and generated next frames: {sheet}')
    console.print(make_table(results, {key: count_classes(probes[key]) for key in probes}))
    target = work_dir / 'results.json'
    write_text(target, json.dumps([asdict(result) for result in results], indent=2) + '\n')
    # With it, tools/report.py can write the report again.
    write_text(work_dir / 'probe.py', probes['how'].pretty_text)
    report = write_report(work_dir, probe_config=probes['how'])
    console.print(f'results: {target}\ncurves: tensorboard --logdir {work_dir}')
    console.print(f'report: {report}', style='bold')
    return results


def pretrain(
    folder: Path, seed: int, options: Sequence[str], console: Console | None = None
) -> Path:
    """Run ``tools/train.py`` in a process of its own and return the last checkpoint.

    Its steps move a bar; stages and warnings are printed, and everything stands in ``train.log``.

    Raises:
        PretrainingError: if it fails; names the command and its log.
    """
    script, config = project_folder() / 'tools/train.py', find_config(PRETRAIN)
    command = [sys.executable, str(script), str(config)]
    command += ['--work-dir', str(folder), '--seed', str(seed), '--resume']
    command += ['--cfg-options', *options] if options else []
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'train.log'
    with progress_bar('steps', console=console, speed_estimate_period=600.0) as bar:
        task = bar.add_task('pretraining', total=None)
        show = partial(bar.console.print, no_wrap=True, overflow='ellipsis', markup=False)
        code = follow(command, log, bar, [task], say=show)
        if not code:  # the last steps may not have been logged, or all were done before
            total = bar.tasks[task].total or 1
            bar.update(task, completed=total, total=total)
    if code:
        raise PretrainingError(
            f'pretraining ended with exit code {code}, see above and {log}; the command was: '
            f'{shlex.join(command)}. Other --cfg-options need another --work-dir.'
        )
    return Path(newest_checkpoint(str(folder)))


def probe_settings(config: Config) -> Config:
    """A probe config for one short training in this process: only its result is kept."""
    short = copy.deepcopy(config)
    short.merge_from_dict(
        {
            'log_level': 'WARNING',
            'train_cfg.val_interval': config.train_cfg.max_epochs,
            'default_hooks.checkpoint.interval': -1,
            'default_hooks.checkpoint.save_last': False,
            'visualizer.vis_backends': [],
        }
    )
    return short


def probe_rows(
    configs: Mapping[str, Config],
    checkpoint: Path,
    seed: int,
    seconds: dict[str, float],
    console: Console,
) -> DemoResult:
    """Probe every row of the table with identical settings, beside the checkpoint.

    Args:
        configs: probe configs by question, ``how`` and ``what``.
        checkpoint: of the pretraining.
        seed: of untrained weights and probes.
        seconds: by phase; what the probes take is added.
        console: to say each number as soon as it is there.
    """
    top1: dict[str, dict[str, float]] = {question: {} for question in configs}
    fixed = {}
    for question, config in configs.items():
        short, folder = probe_settings(config), checkpoint.parent / 'probes'
        for name, changes in ROWS.items():
            if question == 'what' and 'single_frame' in changes:
                top1[question][name] = top1[question]['pretrained']  # of a still there is no more
                continue
            start, phase = time.perf_counter(), f'probe, {name}, {question}'
            place = f'{name}_{question}'.replace(', ', '_').replace(' ', '_')
            record = fit_probe(
                short, checkpoint, folder / place, seed, folder / 'features', **changes
            )
            seconds[phase] = time.perf_counter() - start
            top1[question][name] = record['top1']
            if question == 'how':
                fixed[name] = fixed_top1(record)
            console.print(f'{question}, {name}: {record["top1"]:.1f} % ({seconds[phase]:.0f} s)')
    return DemoResult(seed, top1['how'], fixed, seconds, top1['what'])


def fixed_top1(record: Mapping[str, Any]) -> float:
    """Top-1 of the grid's fixed member, %."""
    return record['members'][record['fixed_member']]['merged']['top1']


def draw_sheet(config: Config, checkpoint: Path, path: Path, clips: int = 4) -> Path:
    """Generate the hidden patches of some clips of the mixture and write the picture.

    Args:
        config: what the checkpoint was trained with.
        checkpoint: a file of that run.
        path: of the picture.
        clips: rows of the picture.
    """
    model = MODELS.build(config.model)
    load_exactly(model, read_checkpoint(checkpoint)['state_dict'], str(checkpoint))
    model.eval()
    own = own_clips(config, model, clips)
    return generation_sheet(model, own.clips, own.batch, path)


def count_classes(config: Config) -> int:
    """Number of classes the probes tell apart."""
    return int(config.model.cls_head.num_classes)


def make_table(results: Sequence[DemoResult], num_classes: Mapping[str, int]) -> Table:
    """Top-1 accuracy by row, seed and question, with chance.

    Args:
        results: one per seed.
        num_classes: by question, ``how`` and ``what``.
    """
    table = Table(
        title='attentive probe, top-1 on validation (%)',
        caption='how: which motion, in videos; what: which photograph, in stills',
    )
    table.add_column('encoder')
    columns = []
    for result in results:
        for question, top1 in (('how', result.top1), ('what', result.what)):
            table.add_column(f'seed {result.seed}\n{question}', justify='right')
            columns.append((top1, 100 / num_classes[question]))
    for name in ROWS:
        table.add_row(name, *(f'{top1[name]:.1f}' for top1, _ in columns))
    table.add_row('chance', *(f'{chance:.1f}' for _, chance in columns))
    gains = (f'{top1["pretrained"] - top1["untrained"]:+.1f}' for top1, _ in columns)
    table.add_row('pretrained - untrained', *gains, end_section=True)
    return table
