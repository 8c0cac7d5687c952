"""Which patches of a frame are hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from .figures import COLOURS, new_figure

_COLOURS = ListedColormap([COLOURS[0], 'white'])  # hidden, visible


def draw_masks(masking: Any, grid: tuple[int, int], draws: int, rng: np.random.Generator) -> Figure:
    """Draw some masks of every strategy, one strategy per row; hidden patches are blue.

    Args:
        masking: a ``FrameIsolatedMasking``.
        grid: patches of a frame (rows, columns).
        draws: masks per strategy.
        rng: source of randomness.
    """
    rows, columns = grid
    strategies = len(masking.num_visible(grid))
    figure = new_figure(0.75 * draws, 0.8 * strategies)
    samples = [masking.sample(grid, rng) for _ in range(draws)]
    for number in range(strategies):
        for place, masks in enumerate(samples):
            seen = np.zeros(rows * columns)
            seen[masks[number]['visible'].numpy()] = 1
            axis = figure.add_subplot(strategies, draws, number * draws + place + 1)
            axis.pcolormesh(
                seen.reshape(rows, columns)[::-1],
                cmap=_COLOURS,
                vmin=0,
                vmax=1,
                edgecolors='#999999',
                linewidth=0.3,
            )
            axis.set_aspect('equal')
            axis.set_xticks([])
            axis.set_yticks([])
    return figure
