"""The parts of a report as plain data, which the page's template lays out."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from PIL import Image

from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.evaluation.streaming_cost import StreamingCost
from nextvid_mm.visualization.curves import draw_lines, draw_panels
from nextvid_mm.visualization.feature_map import draw_feature_map
from nextvid_mm.visualization.figures import data_uri, figure_image

from .learned import Insight
from .published import DATASETS, PUBLISHED
from .run import Run

_PACKAGES = ('torch', 'mmengine', 'mmaction2', 'mmpretrain', 'timm', 'diffusers', 'numpy')
_JPEG_QUALITY = 82


@dataclass(frozen=True)
class Picture:
    """A picture with its caption; ``uri`` holds the picture itself."""

    caption: str
    uri: str


@dataclass(frozen=True)
class Table:
    """Rows of text under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        title: heading.
        text: paragraphs.
        tables: tables.
        pictures: pictures.
        details: pairs of a summary and preformatted text that is folded away.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    details: Sequence[tuple[str, str]] = field(default_factory=tuple)


def results_section(results: Sequence[Mapping[str, Any]], num_classes: int) -> Section:
    """The demo's accuracies by seed, with mean and chance."""
    rows = list(results[0]['top1'])
    body = [
        [name, *(f'{r["top1"][name]:.1f}' for r in results), f'{_mean_of(results, name):.1f}']
        for name in rows
    ]
    chance = f'{100 / num_classes:.1f}'
    body.append(['chance', *[chance] * (len(results) + 1)])
    gains = [r['top1']['pretrained'] - r['top1']['untrained'] for r in results]
    mean = sum(gains) / len(gains)
    body.append(['pretrained − untrained', *(f'{gain:+.1f}' for gain in gains), f'{mean:+.1f}'])
    header = ['encoder', *(f'seed {r["seed"]}' for r in results), 'mean']
    text = (
        'Top-1 accuracy (%) of attentive probes on frozen encoders, validation videos. All rows '
        'share probe settings, labels and budget; the best of the probe grid is reported for each.'
    )
    return Section('Results', [text], [Table(header, body)])


def published_section() -> Section:
    """The paper's figures."""
    rows = [
        [name, *('–' if value is None else f'{value:.1f}' for value in values)]
        for name, values in PUBLISHED.items()
    ]
    text = (
        'The published figures of the full recipe and its peers (arXiv 2512.21004): top-1 (%) of '
        'attentive probes. They are the paper’s, on its data and at its scale; nothing on this '
        'page reproduces them.'
    )
    return Section('The paper’s figures', [text], [Table(['encoder', *DATASETS], rows)])


def curves_section(run: Run) -> Section:
    """Everything that was logged, over the stages."""
    pictures = [
        Picture(title, data_uri(figure_image(figure)))
        for title, figure in draw_panels(run.scalars, run.stages)
    ]
    return Section('Training', [f'Run {run.folder.name}; stages are shaded.'], (), pictures)


def features_section(insight: Insight) -> Section:
    """Map of the features and attention of a probe."""
    figure = draw_feature_map(insight.maps, insight.labels, insight.names)
    text = (
        'Each point is a validation video: t-SNE of the mean and deviation of its frozen tokens. '
        f'Below, where one attentive probe looks ({insight.top1:.1f} % top-1 on its own).'
    )
    pictures = [
        Picture('Features by class', data_uri(figure_image(figure))),
        Picture('Attention of the probe', data_uri(insight.attention, _JPEG_QUALITY)),
    ]
    return Section('What the features know', [text], (), pictures)


def generation_section(metrics: GenerationMetrics | None, sheet: Path | None) -> Section:
    """Generated frames, and what they are worth beside copying the last frame."""
    pictures = []
    if sheet is not None and sheet.is_file():
        image = Image.open(sheet)
        caption = 'Original, masked and generated next frames (visible patches as they are)'
        pictures.append(Picture(caption, data_uri(image, _JPEG_QUALITY)))
    if metrics is None:
        return Section('Generated next frames', ['The model has no decoder.'], (), pictures)
    gain = metrics.psnr_generated - metrics.psnr_copy
    averaged = metrics.psnr_mean_of_samples - metrics.psnr_copy
    verdict = 'beat' if gain > 0 else 'do NOT beat'
    text = (
        f'On the pixels that move ({metrics.clips} validation videos, {metrics.samples} samples '
        f'each), single generations {verdict} copying the last frame: {gain:+.2f} dB; their mean '
        f'is {averaged:+.2f} dB against the copy. Diversity over samples (standard deviation, '
        f'pixels in [-1, 1]): {metrics.diversity:.3f}.'
    )
    rows = [
        ['generated, single sample', f'{metrics.psnr_generated:.2f}'],
        ['generated, mean of samples', f'{metrics.psnr_mean_of_samples:.2f}'],
        ['last frame copied', f'{metrics.psnr_copy:.2f}'],
        ['limit of the targets (encode, decode)', f'{metrics.psnr_target:.2f}'],
    ]
    table = Table(['moving region', 'PSNR (dB)'], rows)
    return Section('Generated next frames', [text], [table], pictures)


def generation_table(metrics: GenerationMetrics, names: Sequence[str]) -> Table:
    """The same by class of motion."""
    rows = [
        [
            names[label],
            f'{part.psnr_generated:.2f}',
            f'{part.psnr_copy:.2f}',
            f'{part.psnr_generated - part.psnr_copy:+.2f}',
        ]
        for label, part in sorted(metrics.by_label.items())
    ]
    return Table(['motion', 'generated (dB)', 'copied (dB)', 'difference'], rows)


def streaming_section(cost: StreamingCost) -> Section:
    """Cost per new frame with and without the cache."""
    figure = draw_lines(
        '',
        'frames seen (tubelets)',
        'milliseconds per new frame',
        {
            f'streaming, window of {cost.window}': (cost.frames, cost.streaming_ms),
            'encoding the whole video again': (cost.recompute_frames, cost.recompute_ms),
        },
    )
    figure.axes[0].set_yscale('log')
    text = (
        'A frame-causal encoder keeps keys and values of the last frames: a new frame costs the '
        f'same however long the stream is. Median of the last 50 frames over the first 50 after '
        f'the window has filled: {cost.ratio:.2f}.'
    )
    return Section(
        'Streaming', [text], (), [Picture('Cost per frame', data_uri(figure_image(figure)))]
    )


def setting_section(run: Run, checkpoint_meta: Mapping[str, Any]) -> Section:
    """Data, environment and configuration."""
    tables = []
    if data := checkpoint_meta.get('data'):
        columns = (data['names'], data['weights'], data['lengths'])
        rows = [[name, f'{w:g}', f'{n:,}'] for name, w, n in zip(*columns, strict=True)]
        tables.append(Table(['source', 'weight', 'items'], rows))
    versions = [[name, metadata.version(name)] for name in ('nextvid_mm', *_PACKAGES)]
    machine = [['Python', platform.python_version()], ['system', platform.platform()]]
    seed = checkpoint_meta.get('seed', run.config.get('randomness', {}).get('seed'))
    facts = [['steps', str(checkpoint_meta.get('iter', '–'))], ['seed', str(seed)]]
    tables.append(Table(['', ''], [*facts, *versions, *machine]))
    details = [('Configuration', run.config.pretty_text)]
    if 'stages' in checkpoint_meta:
        details.insert(0, ('Stage table', json.dumps(checkpoint_meta['stages'], indent=1)))
    return Section('Data, environment, configuration', (), tables, (), details)


def _mean_of(results: Sequence[Mapping[str, Any]], name: str) -> float:
    return sum(r['top1'][name] for r in results) / len(results)
