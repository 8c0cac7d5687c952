"""The parts of a report: what a run wrote, what its checkpoint has learned, the paper's figures."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.inferencers.cost import RolloutCost, StreamingCost
from nextvid_mm.plan.stage_report import COLUMNS, stage_rows
from nextvid_mm.run_folder import versions
from nextvid_mm.visualization.figures import (
    draw_feature_map,
    draw_lines,
    draw_masks,
    draw_panels,
)

from .learned import FeatureInsight
from .page import Section, Table, drawing, photograph
from .run import Run

DATASETS = ('K400', 'IN1K', 'SSv2', 'Diving48')

# The paper's Table 1 (arXiv 2512.21004), cited, not ours: top-1 of attentive probes on frozen
# encoders, %; None where the paper gives none.
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    'NExT-Vid-L': (78.5, 76.3, 63.9, 82.7),
    'NExT-Vid-H': (80.6, 79.0, 67.0, 84.5),
    'NExT-Vid-G': (83.1, 81.4, 69.5, 87.2),
    'VideoMAE-H': (79.8, 72.3, 66.2, None),
    'VideoMAEv2-G': (71.2, 71.4, 61.2, None),
    'Toto-1B': (74.4, 75.3, None, None),
    'V-JEPA-H': (82.0, 75.9, 71.4, 87.9),
    'V-JEPA2-G': (86.6, 84.6, 75.3, 90.1),
}
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
    tables = [Table(['encoder', *seeds, 'mean'], body, 'This run, top-1 (%)')]
    if what := results[0].get('what'):
        body = [_row(name, [r['what'][name] for r in results]) for name in what]
        tables.append(
            Table(['encoder', *seeds, 'mean'], body, 'This run, top-1 (%): what stills show')
        )
    tables.append(published_table())
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


def setting_section(run: Run) -> Section:
    """Data, stages, environment and configuration."""
    meta = run.meta
    steps = meta.get('iter')
    tables = []
    if data := meta.get('data'):
        clips = run.table.samples_before(min(steps or 0, run.table.total_steps)) if run.table else 0
        tables.append(_sources(data, clips))
    if spec := demo_spec(run):
        tables.append(Table(['', ''], [[k, str(v)] for k, v in spec.items()], 'Generated videos'))
    if run.table:
        rows = stage_rows(run.table, world_size=1)
        places = [COLUMNS.index(name) for name in _STAGE_COLUMNS]
        chosen = [[row[place] for place in places] for row in rows]
        tables.append(Table(_STAGE_COLUMNS, chosen, 'Stages'))
    seed = meta.get('seed', (run.config.get('randomness') or {}).get('seed'))
    facts = [['steps done', '–' if steps is None else f'{steps:,}'], ['seed', str(seed)]]
    libraries = [list(pair) for pair in versions().items()]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'
    machine = [
        ['system', f'{platform.system()} {platform.machine()}'],
        ['processors', f'{os.cpu_count()}, {device}'],
    ]
    tables.append(Table(['', ''], facts, 'Run'))
    tables.append(Table(['', ''], [*libraries, *machine], 'Where this page was written'))
    details = [('Configuration', run.config.pretty_text)]
    return Section('Data, environment, configuration', (), tables, details=details)


def features_section(insight: FeatureInsight) -> Section:
    """Maps of the features and attention of the trained probe."""
    text = [
        'Each point is a validation video: t-SNE of the mean and deviation of its frozen tokens.'
        if insight.maps
        else 'There are too few validation videos for a map of their features.'
    ]
    pictures = [
        drawing(f'Features by class, {name}', draw_feature_map(at, insight.labels, insight.names))
        for name, at in insight.maps
    ]
    if insight.attention is None:
        text.append(
            'No trained probe of this checkpoint was found: python tools/test.py PROBE_CONFIG '
            'CHECKPOINT with --work-dir below this run trains one, and the report then shows where '
            'it looks.'
        )
    else:
        text.append(
            f'Below, where the best attentive probe looks ({insight.top1:.1f} % top-1, '
            f'{insight.probe}), mean of its heads: grey is ignored, bright is read.'
        )
        pictures.append(photograph('Attention of the probe over the video', insight.attention))
    return Section('What the features know', text, (), pictures)


def generation_section(
    insight: tuple[GenerationMetrics, Image.Image] | str,
    names: Sequence[str] = (),
    rollout: RolloutCost | None = None,
    sheet: Path | None = None,
) -> Section:
    """Generated frames, and what they are worth beside copying the last frame.

    Args:
        insight: from ``look_at_generation``.
        names: of the labels.
        rollout: cost of a rollout with and without cache.
        sheet: a further sheet the run left behind.
    """
    title = 'Generated next frames'
    if isinstance(insight, str):
        return Section(title, [insight])
    metrics, drawn = insight
    caption = 'Original, masked and generated; visible patches as far as the targets resolve them'
    pictures = [photograph(f'{caption} (validation videos)', drawn)]
    if sheet is not None and sheet.is_file():
        with Image.open(sheet) as image:
            pictures.append(photograph(f'{caption} (training videos)', image))
    rows = [
        ['generated, single sample', f'{metrics.psnr_generated:.2f}'],
        ['generated, mean of samples', f'{metrics.psnr_mean_of_samples:.2f}'],
        ['last frame copied', f'{metrics.psnr_copy:.2f}'],
        ['limit of the targets (encode, decode)', f'{metrics.psnr_target:.2f}'],
    ]
    tables = [Table(['moving region', 'PSNR (dB)'], rows)]
    if metrics.by_label:
        rows = [
            [names[n], f'{m.psnr_generated:.2f}', f'{m.psnr_copy:.2f}', f'{m.gain:+.2f}']
            for n, m in sorted(metrics.by_label.items())
        ]
        tables.append(Table(['motion', 'generated (dB)', 'copied (dB)', 'difference'], rows))
    beaten = 'beat' if metrics.gain > 0 else 'do NOT beat'
    averaged = metrics.psnr_mean_of_samples - metrics.psnr_copy
    verdict = (
        f'On the pixels that move ({metrics.clips} validation videos, {metrics.samples} samples '
        f'each), single generations {beaten} copying the last frame: {metrics.gain:+.2f} dB; the '
        f'mean of a video’s samples is {averaged:+.2f} dB against the copy. Diversity over samples '
        f'(standard deviation, pixels in [-1, 1]): {metrics.diversity:.3f}.'
    )
    return Section(title, [verdict, *([str(rollout)] if rollout else [])], tables, pictures)


def streaming_section(cost: StreamingCost | str) -> Section:
    """Cost per new frame with and without the cache, or why it was not measured."""
    if isinstance(cost, str):
        return Section('Streaming', [cost])
    frames = range(1, len(cost.streaming_ms) + 1)
    figure = draw_lines(
        'frames seen (tubelets)',
        'milliseconds per new frame',
        {
            f'streaming, window of {cost.window}': (frames, cost.streaming_ms),
            'encoding the whole video again': (cost.recompute_frames, cost.recompute_ms),
        },
        log_scale=True,
    )
    text = (
        'A frame-causal encoder keeps keys and values of the last frames: a new frame costs the '
        'same however long the stream is. Median of the last 50 frames over the first 50 after '
        f'the window has filled: {cost.ratio:.2f}. Encoding {cost.recompute_frames[-1]} frames '
        f'again costs {cost.advantage:.0f} times as much as the cached frame. The cache of one '
        f'stream holds {cost.cache_bytes / 2**20:.1f} MiB.'
    )
    return Section('Streaming', [text], (), [drawing('Cost per frame', figure)])


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
