"""The parts of a report that need no more than what a run wrote: logs, results, settings."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.stage_report import COLUMNS, stage_rows
from nextvid_mm.visualization.curves import draw_panels
from nextvid_mm.visualization.masks import draw_masks

from .page import Section, Table, drawing
from .published import DATASETS, PUBLISHED
from .run import Run

_PACKAGES = ('torch', 'mmengine', 'mmaction2', 'mmpretrain', 'timm', 'diffusers', 'numpy')
_STAGE_COLUMNS = ('stage', 'steps', 'lr', 'flow lr', 'tau', 'EMA', 'frames', 'batch', 'clips')
_ABOUT_PAPER = (
    'Beside them the published figures of the full recipe and its peers (arXiv 2512.21004). They '
    'are the paper’s, on other data and at its scale; nothing on this page reproduces them.'
)


def results_section(results: Sequence[Mapping[str, Any]], num_classes: int) -> Section:
    """The demo's accuracies by seed, with mean and chance, beside the paper's."""
    seeds = [f'seed {r["seed"]}' for r in results]
    body = [_row(name, [r['top1'][name] for r in results]) for name in results[0]['top1']]
    chance = 100 / num_classes
    body.append(_row('chance', [chance] * len(results)))
    gains = [r['top1']['pretrained'] - r['top1']['untrained'] for r in results]
    body.append(_row('pretrained − untrained', gains, '+.1f'))
    phases = [_row(name, [r['seconds'][name] for r in results], '.0f') for name in
              results[0].get('seconds', {})]  # fmt: skip
    tables = [Table(['encoder', *seeds, 'mean'], body, 'This run, top-1 (%)'), published_table()]
    if phases:
        tables.append(Table(['phase', *seeds, 'mean'], phases, 'Time (seconds)'))
    how = (
        'Top-1 accuracy of attentive probes on frozen encoders, validation videos. All rows share '
        'probe settings, labels and budget; the best of the probe grid is reported for each.'
    )
    return Section('Results', [_verdict(results, gains, chance), how, _ABOUT_PAPER], tables)


def published_section() -> Section:
    """The paper's figures, where a run has none of its own yet."""
    text = (
        'The published figures of the full recipe and its peers (arXiv 2512.21004): top-1 (%) of '
        'attentive probes. They are the paper’s, on its data and at its scale; nothing on this '
        'page reproduces them.'
    )
    return Section('The paper’s figures', [text], [published_table()])


def published_table() -> Table:
    """The paper's accuracies."""
    rows = [
        [name, *('–' if value is None else f'{value:.1f}' for value in values)]
        for name, values in PUBLISHED.items()
    ]
    return Table(['encoder', *DATASETS], rows, 'The paper’s own results, top-1 (%)')


def curves_section(run: Run) -> Section:
    """Everything that was logged, over the stages."""
    pictures = [drawing(title, figure) for title, figure in draw_panels(run.scalars, run.stages)]
    return Section('Training', [f'Run {run.folder.name}; stages are shaded.'], (), pictures)


def masks_section(masking: FrameIsolatedMasking, grid: tuple[int, int], draws: int = 8) -> Section:
    """What the encoder sees of a frame; ``grid`` is its patches (rows, columns)."""
    patches = grid[0] * grid[1]
    shares = ', '.join(
        f'{count} of {patches} patches ({count / patches:.0%})'
        for count in masking.num_visible(grid)
    )
    text = (
        'The same patches are hidden in every frame of a clip. Each strategy, one per row, is an '
        f'encoder pass of its own; visible: {shares}.'
    )
    figure = draw_masks(masking, grid, draws, np.random.default_rng(0))
    picture = drawing('Draws of each strategy; hidden patches are blue', figure)
    return Section('Masks', [text], (), [replace(picture, wide=True)])


def setting_section(run: Run, checkpoint_meta: Mapping[str, Any]) -> Section:
    """Data, stages, environment and configuration."""
    steps = checkpoint_meta.get('iter')
    tables = []
    if data := checkpoint_meta.get('data'):
        tables.append(_sources(data, _clips_seen(run, steps or 0)))
    if spec := demo_spec(run):
        tables.append(Table(['', ''], [[k, str(v)] for k, v in spec.items()], 'Generated videos'))
    if run.stages:
        tables.append(_stages(run))
    seed = checkpoint_meta.get('seed', (run.config.get('randomness') or {}).get('seed'))
    facts = [['steps done', '–' if steps is None else f'{steps:,}'], ['seed', str(seed)]]
    versions = [[name, metadata.version(name)] for name in ('nextvid_mm', *_PACKAGES)]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    machine = [
        ['Python', platform.python_version()],
        ['system', f'{platform.system()} {platform.machine()}'],
        ['processors', f'{os.cpu_count()}, {device}'],
    ]
    tables.append(Table(['', ''], facts, 'Run'))
    tables.append(Table(['', ''], [*versions, *machine], 'Where this page was written'))
    details = [('Configuration', run.config.pretty_text)]
    return Section('Data, environment, configuration', (), tables, (), details)


def demo_spec(run: Run) -> dict[str, Any]:
    """What the generated videos are made of, from ``demo_spec.json`` beside a source's list."""
    dataset = (run.config.get('train_dataloader') or {}).get('dataset') or {}
    for source in dataset.get('sources', ()):
        path = Path(source['dataset'].get('ann_file') or '.').parent / 'demo_spec.json'
        if path.is_file():
            return json.loads(path.read_text(encoding='utf-8'))
    return {}


def _row(name: str, values: Sequence[float], form: str = '.1f') -> list[str]:
    """Name, values and their mean."""
    return [name, *(f'{value:{form}}' for value in (*values, sum(values) / len(values)))]


def _verdict(results: Sequence[Mapping[str, Any]], gains: Sequence[float], chance: float) -> str:
    """One sentence that says what pretraining was worth."""
    mean, count = sum(gains) / len(gains), len(gains)
    wins = sum(gain > 0 for gain in gains)
    text = (
        f'The pretrained encoder is {"ahead of" if mean > 0 else "NOT ahead of"} the same network '
        f'untrained: {mean:+.1f} points{" on average" if count > 1 else ""}, '
        f'ahead for {wins} of {count} seed{"s" if count > 1 else ""}.'
    )
    single = [value for r in results for name, value in r['top1'].items() if 'single' in name]
    if single:
        text += (
            f' From one frame repeated, the probe reads {sum(single) / len(single):.1f} %; chance '
            f'is {chance:.1f} %.'
        )
    return text


def _clips_seen(run: Run, steps: int) -> int:
    stages = (run.config.get('train_cfg') or {}).get('stages')
    if not stages:
        return 0
    table = StageTable(stages)
    return table.samples_before(min(steps, table.total_steps))


def _sources(data: Mapping[str, Any], clips: int) -> Table:
    """Sources of the mixture, and how many clips the run has drawn from each."""
    total = sum(data['weights'])
    rows = []
    for name, weight, items in zip(data['names'], data['weights'], data['lengths'], strict=True):
        drawn = clips * weight / total
        rows.append([name, f'{weight / total:.1%}', f'{items:,}', f'{drawn:,.0f}',
                     f'{drawn / items:.1f}'])  # fmt: skip
    header = ['source', 'share', 'items', 'clips seen', 'times each']
    return Table(header, rows, 'Mixture')


def _stages(run: Run) -> Table:
    """The stage table of the run."""
    rows = stage_rows(StageTable(run.config.train_cfg.stages), world_size=1)
    places = [COLUMNS.index(name) for name in _STAGE_COLUMNS]
    return Table(_STAGE_COLUMNS, [[row[place] for place in places] for row in rows], 'Stages')
