"""Draw ``docs/figures/method.png``: the method on one clip of the demo, from masks to losses."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use('agg')

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from numpy.typing import NDArray

from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec

FIGURES = Path(__file__).parent / 'figures'
TUBELETS, GRID = 4, 8
BLUE, ORANGE, GREY = '#0072b2', '#d55e00', '#555555'
PREDICTED = 2  # the tubelet whose prediction is shown, from 0


def hidden_patches() -> NDArray[np.bool_]:
    """A mask as the method draws it: blocks of patches, the same in every tubelet."""
    hidden = np.zeros((GRID, GRID), dtype=bool)
    for top, left, height, width in ((0, 3, 4, 4), (3, 1, 3, 4), (4, 5, 4, 3)):
        hidden[top : top + height, left : left + width] = True
    return hidden


def draw_method() -> Figure:
    """Rows of tubelets, from what the networks see down to what they predict."""
    frames, _ = render_clip(DemoSpec(size=128), 'train', 34)
    shown = [frames[number] for number in np.linspace(0, len(frames) - 1, TUBELETS).astype(int)]
    hidden = hidden_patches()
    figure = plt.figure(figsize=(10.4, 5.0))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, 20.8), ylim=(0, 10))
    axis.axis('off')
    lefts = [2.3 + 2.35 * number for number in range(TUBELETS)]
    for number, left in enumerate(lefts):
        _patches(axis, shown[number], left, 7.1)
        _patches(axis, shown[number], left, 3.75, blank=hidden, alpha=1.0)
        if number:
            edge = ORANGE if number == PREDICTED else BLUE
            _queries(axis, hidden, left, 0.4, edge)
        axis.text(left + 1.05, 9.45, f'tubelet {number}', ha='center', fontsize=9, color=GREY)
    for top, text in ((7.1, 'the clip'), (3.75, 'visible\npatches'), (0.4, 'queries')):
        axis.text(2.0, top + 1.05, text, ha='right', va='center', fontsize=10)
    axis.text(
        2.3 + 1.05, 1.45, 'nothing\nbefore it', ha='center', va='center', fontsize=8, color=GREY
    )
    for number in range(PREDICTED):  # what the predicted tubelet reads
        start = (lefts[number] + 1.05, 3.7)
        end = (lefts[PREDICTED] + 0.6 + 0.5 * number, 2.55)
        axis.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle='-|>',
                mutation_scale=11,
                color=ORANGE,
                connectionstyle='arc3,rad=0.08',
            )
        )
    _boxes(axis)
    return figure


def _patches(
    axis: Axes,
    frame: NDArray,
    left: float,
    bottom: float,
    blank: NDArray | None = None,
    alpha: float = 1.0,
) -> None:
    """One tubelet's picture, cut into patches; ``blank`` ones are taken out."""
    axis.imshow(frame, extent=(left, left + 2.1, bottom, bottom + 2.1), alpha=alpha, aspect='auto')
    step = 2.1 / GRID
    for row in range(GRID):
        for column in range(GRID):
            out = blank is not None and blank[row, column]
            axis.add_patch(
                Rectangle(
                    (left + column * step, bottom + 2.1 - (row + 1) * step),
                    step,
                    step,
                    facecolor='#eeeeee' if out else 'none',
                    edgecolor='white',
                    linewidth=0.6,
                )
            )


def _queries(axis: Axes, hidden: NDArray, left: float, bottom: float, colour: str) -> None:
    """The patches that are predicted in one tubelet."""
    step = 2.1 / GRID
    axis.add_patch(Rectangle((left, bottom), 2.1, 2.1, facecolor='#f7f7f7', edgecolor=colour))
    for row, column in np.argwhere(hidden):
        axis.add_patch(
            Rectangle(
                (left + column * step, bottom + 2.1 - (row + 1) * step),
                step,
                step,
                facecolor=colour,
                edgecolor='white',
                linewidth=0.6,
                alpha=0.75,
            )
        )


def _boxes(axis: Axes) -> None:
    """The networks to the right, each beside the row that it reads."""
    rows = (
        (
            8.15,
            'reference encoder',
            'moving average (EMA) of the encoder,\nsees every patch, no gradient',
            BLUE,
        ),
        (4.8, 'encoder', 'a token attends to its own\nand earlier tubelets only', BLUE),
        (1.45, 'predictor', 'a query reads earlier tubelets\nand nothing else', BLUE),
    )
    for middle, name, text, colour in rows:
        _box(axis, 12.1, middle, 4.3, name, text, colour)
    _box(axis, 17.0, 6.5, 3.6, 'alignment loss', 'prediction = feature\nof the reference', ORANGE)
    _box(
        axis,
        17.0,
        1.45,
        3.6,
        'flow decoder, loss',
        'from noise to pixels or VAE\nlatents, one tubelet at a time',
        ORANGE,
    )
    for start, end in (
        ((14.25, 3.9), (14.25, 2.35)),  # encoder to predictor
        ((16.4, 1.45), (17.0, 1.45)),  # predictor to decoder
        ((16.4, 2.1), (17.9, 5.6)),  # predictor to alignment
        ((16.4, 8.15), (17.9, 7.4)),  # reference to alignment
    ):
        axis.add_patch(FancyArrowPatch(start, end, arrowstyle='-|>', mutation_scale=12, color=GREY))
    axis.add_patch(
        FancyArrowPatch(
            (14.25, 5.7),
            (14.25, 7.25),
            arrowstyle='-|>',
            mutation_scale=12,
            color=GREY,
            linestyle='--',
        )
    )
    axis.text(14.4, 6.5, 'weights', fontsize=8, color=GREY, va='center')


def _box(
    axis: Axes, left: float, middle: float, width: float, name: str, text: str, colour: str
) -> None:
    axis.add_patch(
        FancyBboxPatch(
            (left, middle - 0.85),
            width,
            1.7,
            boxstyle='round,pad=0.02,rounding_size=0.15',
            facecolor='#e8f0f8' if colour == BLUE else '#fbe9e0',
            edgecolor=colour,
        )
    )
    axis.text(
        left + width / 2, middle + 0.45, name, ha='center', va='center', fontsize=10, weight='bold'
    )
    axis.text(left + width / 2, middle - 0.3, text, ha='center', va='center', fontsize=7.5)


def main() -> None:
    """Write the figure."""
    FIGURES.mkdir(exist_ok=True)
    draw_method().savefig(FIGURES / 'method.png', dpi=110)
    print(FIGURES / 'method.png')


if __name__ == '__main__':
    main()
