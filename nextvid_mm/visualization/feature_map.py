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

_MAX_NAMES = 24
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
    points: NDArray[np.floating], labels: Sequence[int], names: Sequence[str]
) -> Figure:
    """Draw projected features.

    Args:
        points: ``(n, 2)``.
        labels: class of each point.
        names: names of the classes; with more than 24, none is written.
    """
    figure = new_figure(4.4, 4.8)
    axis = figure.add_subplot()
    classes = np.asarray(labels)
    for label, name in enumerate(names):
        x, y = points[classes == label].T
        marker = _MARKERS[label % len(_MARKERS)]
        colour = colormaps['tab10'](label % 10)
        axis.scatter(x, y, s=16, color=colour, marker=marker, label=name, linewidths=0)
    axis.set_xticks([])
    axis.set_yticks([])
    if len(names) <= _MAX_NAMES:
        figure.legend(loc='outside lower center', ncols=3, fontsize=8.5, frameon=False)
    return figure
