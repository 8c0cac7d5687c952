"""A flat map of features, coloured by class.

Shape legend: n clips, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from .figures import new_figure

_MARKERS = 'osD^v<>P*Xph'


def project(features: NDArray[np.floating], seed: int = 0) -> NDArray[np.floating]:
    """t-SNE of standardised features ``(n, C)`` to ``(n, 2)``; the same seed gives the same map.

    Raises:
        ValueError: for fewer than 4 clips, which no map can be drawn of.
    """
    if len(features) < 4:
        raise ValueError(f'a map of features needs at least 4 clips, found {len(features)}')
    spread = features.std(axis=0, keepdims=True) + 1e-6
    centred = (features - features.mean(axis=0, keepdims=True)) / spread
    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init='pca', random_state=seed).fit_transform(centred)


def draw_feature_map(
    maps: Sequence[tuple[str, NDArray[np.floating]]],
    labels: Sequence[int],
    names: Sequence[str],
) -> Figure:
    """Draw projected features side by side.

    Args:
        maps: title and points ``(n, 2)`` of each.
        labels: class of each point.
        names: names of the classes.
    """
    figure = new_figure(4.2 * len(maps) + 1.6, 4.2)
    colours = colormaps['tab20'](np.linspace(0, 1, max(len(names), 2)))
    classes = np.asarray(labels)
    for number, (title, points) in enumerate(maps, start=1):
        axis = figure.add_subplot(1, len(maps), number)
        for label, name in enumerate(names):
            x, y = points[classes == label].T
            axis.scatter(
                x,
                y,
                s=14,
                color=colours[label],
                marker=_MARKERS[label % len(_MARKERS)],
                label=name,
                linewidths=0,
            )
        axis.set_title(title, fontsize=9)
        axis.set_xticks([])
        axis.set_yticks([])
    axis.legend(fontsize=7, loc='center left', bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure
