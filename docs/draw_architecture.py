"""Draw the figures of docs/architecture.md again: how data flows, and who attends to whom."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from nextvid_mm.visualization.figures import figure_image, new_figure

_BOX = dict(boxstyle='round,pad=0.45', facecolor='#e8f0f8', edgecolor='#0072b2')
_LOSS = dict(boxstyle='round,pad=0.45', facecolor='#fbe9e0', edgecolor='#d55e00')
_PLAIN = dict(boxstyle='round,pad=0.45', facecolor='#f4f4f4', edgecolor='#999999')
_ARROW = dict(arrowstyle='-|>', color='#555555', shrinkA=2, shrinkB=2)

# Name: position, text, style.
_NODES = {
    'clip': ((0.0, 0.5), 'clip\npatches', _PLAIN),
    'encoder': ((0.24, 0.5), 'encoder\nvisible patches\nframe-wise causal', _BOX),
    'reference': ((0.24, 0.9), 'reference encoder\n(EMA) all patches', _BOX),
    'targets': ((0.24, 0.1), 'target generator\nVAE or pixels', _BOX),
    'predictor': ((0.53, 0.5), 'predictor\nreads earlier frames', _BOX),
    'decoder': ((0.77, 0.3), 'flow decoder\none frame at a time', _BOX),
    'align': ((1.0, 0.9), 'loss_align', _LOSS),
    'flow': ((1.0, 0.1), 'loss_flow', _LOSS),
}
_EDGES = (
    ('clip', 'encoder'),
    ('clip', 'reference'),
    ('clip', 'targets'),
    ('encoder', 'predictor'),
    ('predictor', 'decoder'),
    ('predictor', 'align'),
    ('reference', 'align'),
    ('decoder', 'flow'),
    ('targets', 'flow'),
)


def draw_data_flow() -> Figure:
    """Boxes and arrows of one training step."""
    figure = new_figure(8.0, 3.2)
    axis = figure.add_subplot()
    boxes = {
        name: axis.text(x, y, text, ha='center', va='center', fontsize=8, bbox=style)
        for name, ((x, y), text, style) in _NODES.items()
    }
    for start, end in _EDGES:  # from border to border, not from centre to centre
        ends = dict(patchA=boxes[start].get_bbox_patch(), patchB=boxes[end].get_bbox_patch())
        axis.annotate('', _NODES[end][0], _NODES[start][0], arrowprops=_ARROW | ends)
    axis.set_xlim(-0.1, 1.1)
    axis.set_ylim(-0.08, 1.08)
    axis.axis('off')
    return figure


def draw_attention_patterns(frames: int = 4, tokens: int = 3) -> Figure:
    """The three patterns as the boolean matrices that are never built.

    Args:
        frames: tubelets.
        tokens: tokens per frame.
    """
    query = np.arange(frames).repeat(tokens)[:, None]
    key = np.arange(frames).repeat(tokens)[None, :]
    patterns = (
        ('frame-wise causal\n(encoder)', key <= query),
        ('autoregressive\n(predictor)', (key < query)[tokens:]),
        ('frame-isolated\n(decoder)', key == query),
    )
    figure = new_figure(8.0, 3.3)
    for number, (title, allowed) in enumerate(patterns, start=1):
        _draw_pattern(figure.add_subplot(1, 3, number), title, allowed, tokens)
    return figure


def _draw_pattern(axis: Axes, title: str, allowed: NDArray[np.bool_], tokens: int) -> None:
    axis.imshow(allowed, cmap='Blues', vmin=0, vmax=1.3, aspect='equal')
    for edge in range(0, allowed.shape[1] + 1, tokens):
        axis.axvline(edge - 0.5, color='white', linewidth=1.5)
    for edge in range(0, allowed.shape[0] + 1, tokens):
        axis.axhline(edge - 0.5, color='white', linewidth=1.5)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel('keys, by frame', fontsize=8)
    axis.set_ylabel('queries, by frame', fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])


def main() -> None:
    """Write both figures as PNG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--folder', type=Path, default=ROOT / 'docs' / 'figures', help='where they go'
    )
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    figures = dict(data_flow=draw_data_flow(), attention_patterns=draw_attention_patterns())
    for name, figure in figures.items():
        figure_image(figure).save(folder / f'{name}.png', optimize=True)
        print(folder / f'{name}.png')


if __name__ == '__main__':
    main()
