"""The parts of a report that show what a checkpoint has learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from nextvid_mm.evaluation.generation import GenerationMetrics
from nextvid_mm.inferencers.cost import RolloutCost, StreamingCost
from nextvid_mm.visualization.curves import draw_lines
from nextvid_mm.visualization.feature_map import draw_feature_map

from .learned import FeatureInsight, GenerationInsight
from .page import Section, Table, drawing, photograph


def features_section(insight: FeatureInsight) -> Section:
    """Maps of the features and attention of a probe."""
    text = (
        'Each point is a validation video: t-SNE of the mean and deviation of its frozen tokens. '
        'Below, where one attentive probe looks, mean of its heads '
        f'({insight.top1:.1f} % top-1 on its own, trained on {insight.trained_on:,} videos): grey '
        'is ignored, bright is read.'
    )
    pictures = [
        drawing(
            f'Features by class, {title}', draw_feature_map(points, insight.labels, insight.names)
        )
        for title, points in insight.maps
    ]
    pictures.append(photograph('Attention of the probe over the video', insight.attention))
    return Section('What the features know', [text], (), pictures)


def generation_section(
    insight: GenerationInsight | str, rollout: RolloutCost | None = None, sheet: Path | None = None
) -> Section:
    """Generated frames, and what they are worth beside copying the last frame.

    Args:
        insight: what was generated, or why nothing can be.
        rollout: cost of a roll-out with and without cache.
        sheet: a further sheet the run left behind.
    """
    title = 'Generated next frames'
    if isinstance(insight, str):
        return Section(title, [insight])
    caption = 'Original, masked and generated; visible patches as far as the targets resolve them'
    pictures = [photograph(f'{caption} (validation videos)', insight.sheet)]
    if sheet is not None and sheet.is_file():
        with Image.open(sheet) as image:
            pictures.append(photograph(f'{caption} (training videos)', image))
    metrics = insight.metrics
    tables = [metrics_table(metrics)]
    if metrics.by_label:
        tables.append(label_table(metrics, insight.names))
    text = [verdict(metrics), *([str(rollout)] if rollout else [])]
    return Section(title, text, tables, pictures)


def verdict(metrics: GenerationMetrics) -> str:
    """Whether generated frames beat repeating the last one, and by how much."""
    beaten = 'beat' if metrics.gain > 0 else 'do NOT beat'
    averaged = metrics.psnr_mean_of_samples - metrics.psnr_copy
    return (
        f'On the pixels that move ({metrics.clips} validation videos, {metrics.samples} samples '
        f'each), single generations {beaten} copying the last frame: {metrics.gain:+.2f} dB; the '
        f'mean of a video’s samples is {averaged:+.2f} dB against the copy. Diversity over samples '
        f'(standard deviation, pixels in [-1, 1]): {metrics.diversity:.3f}.'
    )


def metrics_table(metrics: GenerationMetrics) -> Table:
    """PSNR of generated frames and of what they are compared with."""
    rows = [
        ['generated, single sample', f'{metrics.psnr_generated:.2f}'],
        ['generated, mean of samples', f'{metrics.psnr_mean_of_samples:.2f}'],
        ['last frame copied', f'{metrics.psnr_copy:.2f}'],
        ['limit of the targets (encode, decode)', f'{metrics.psnr_target:.2f}'],
    ]
    return Table(['moving region', 'PSNR (dB)'], rows)


def label_table(metrics: GenerationMetrics, names: Sequence[str]) -> Table:
    """The same by class of motion."""
    rows = [
        [names[label], f'{part.psnr_generated:.2f}', f'{part.psnr_copy:.2f}', f'{part.gain:+.2f}']
        for label, part in sorted(metrics.by_label.items())
    ]
    return Table(['motion', 'generated (dB)', 'copied (dB)', 'difference'], rows)


def streaming_section(cost: StreamingCost | str) -> Section:
    """Cost per new frame with and without the cache, or why it was not measured."""
    if isinstance(cost, str):
        return Section('Streaming', [cost])
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
        'same however long the stream is. Median of the last 50 frames over the first 50 after '
        f'the window has filled: {cost.ratio:.2f}. Encoding {cost.recompute_frames[-1]} frames '
        f'again costs {cost.advantage:.0f} times as much as the cached frame. The cache of one '
        f'stream holds {cost.cache_bytes / 2**20:.1f} MiB.'
    )
    return Section('Streaming', [text], (), [drawing('Cost per frame', figure)])
