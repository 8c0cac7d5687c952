"""Which samples are alike, by features alone: neighbours, twins, loners, clusters.

Features are centred by their mean first, as those of video encoders share a large constant part.
Alike are those of one direction (cosine).

Shape legend: n samples, q queries, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional as F

_BLOCK = 1024  # rows of the table of all pairs held at once
_MAD = 1.4826  # of a normal distribution, its standard deviation over this median


def directions(features: Tensor, others: Tensor | None = None) -> Tensor:
    """Centred features of length 1, float32.

    Args:
        features: ``(n, C)``, whose mean is the centre.
        others: ``(q, C)`` to be given instead of ``features``; None for these.

    Raises:
        ValueError: for fewer than two samples, or features that are not finite.
    """
    if len(features) < 2:
        raise ValueError(f'one cannot tell who is alike among {len(features)} samples: give more')
    rows = (features if others is None else others).float() - features.float().mean(0)
    if not rows.isfinite().all():
        raise ValueError('features are not finite: the encoder gave NaN or infinity')
    return F.normalize(rows, dim=1)


def nearest(units: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cosines ``(q, k)``, largest first, and numbers of the k samples nearest to each query.

    Args:
        units: ``(n, C)`` of ``directions``.
        queries: ``(q, C)`` of the same.
        k: neighbours; no more than there are samples are given.
    """
    found = [(rows @ units.T).topk(min(k, len(units))) for rows in queries.split(_BLOCK)]
    return torch.cat([part.values for part in found]), torch.cat([part.indices for part in found])


def twins(units: Tensor, least: float) -> list[list[int]]:
    """Groups of samples that are linked by cosines of ``least`` or more, in order of their first.

    Args:
        units: ``(n, C)`` of ``directions``.
        least: smallest cosine of a pair.
    """
    pairs = list(_pairs(units, least))
    if not pairs:
        return []
    left, right = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(left)), (left, right)), shape=(len(units), len(units)))
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind='stable')
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted((g.tolist() for g in groups if len(g) > 1), key=lambda group: group[0])


def _pairs(units: Tensor, least: float) -> Iterator[NDArray[np.int64]]:
    for first in range(0, len(units), _BLOCK):
        # Of copies, the cosine is 1 but for rounding.
        close = units[first : first + _BLOCK] @ units[first:].T >= least - 1e-6
        left, right = close.triu(1).nonzero(as_tuple=True)
        if len(left):
            yield np.stack([left.numpy() + first, right.numpy() + first])


def loneliness(features: Tensor, k: int = 5) -> NDArray[np.float64]:
    """How far each sample is from its k nearest others, in robust standard deviations.

    That is the mean distance, less its median over samples, over 1.4826 times the median deviation
    from it. Above 3.5, a sample is commonly called an outlier. Lengths count here, beside
    directions: what an encoder has never seen is often far from everything, in any direction.

    Args:
        features: ``(n, C)``.
        k: neighbours.
    """
    rows = features.float() - features.float().mean(0)
    k = min(k + 1, len(rows))  # the nearest is the sample itself
    parts = [torch.cdist(part, rows).topk(k, largest=False).values for part in rows.split(_BLOCK)]
    distances = torch.cat(parts)[:, 1:].double().mean(1).numpy()
    apart = distances - np.median(distances)
    return apart / max(_MAD * float(np.median(np.abs(apart))), 1e-9)


def clusters(units: Tensor, count: int, seed: int = 0) -> list[list[int]]:
    """K-means: the samples of each cluster, nearest to its centre first; largest cluster first.

    Args:
        units: ``(n, C)`` of ``directions``.
        count: clusters; no more than there are samples are made.
        seed: of the first centres.
    """
    from sklearn.cluster import KMeans

    rows = units.numpy()
    found = KMeans(min(count, len(rows)), n_init=4, random_state=seed).fit(rows)
    away = found.transform(rows)[np.arange(len(rows)), found.labels_]
    groups = [np.flatnonzero(found.labels_ == label) for label in range(found.n_clusters)]
    groups = [group[np.argsort(away[group], kind='stable')] for group in groups]
    return sorted((group.tolist() for group in groups), key=lambda group: (-len(group), group))
