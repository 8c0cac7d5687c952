"""What features look like without training anything on them.

Shape legend: n samples, C channels.
"""

from __future__ import annotations

import math

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values (Roy and Vetterli, 2007).

    1 if all samples lie on a line through their mean, C if they spread evenly over all directions;
    NaN if a feature is not finite.

    Args:
        features: ``(n, C)``, or ``(..., C)`` with every leading dimension counted as samples.
    """
    rows = features.detach().flatten(0, -2).float()
    rows = rows - rows.mean(0)
    if not rows.isfinite().all():
        return math.nan  # the solver would raise, and end a run that a bad step need not end
    # The eigenvalues of the smaller Gram matrix are the squared singular values: their square root
    # turns rounding, above all that of autocast, into many small directions. Not in float64.
    rows = rows.double()
    gram = rows.T @ rows if rows.shape[0] >= rows.shape[1] else rows @ rows.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    total = singular.sum()
    if total == 0:
        return 1.0
    share = singular / total
    return float(torch.exp(-torch.xlogy(share, share).sum()))


def feature_std(features: Tensor) -> float:
    """Standard deviation over samples, averaged over channels; 0 after a collapse.

    Args:
        features: ``(..., C)``.
    """
    return float(features.detach().flatten(0, -2).float().std(dim=0, correction=0).mean())


def knn_accuracy(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Accuracy (%) of the classifier of ``knn_votes``.

    Args:
        train: ``(n_train, C)``, one row per labelled sample.
        train_labels: ``(n_train,)``.
        test: ``(n_test, C)``.
        test_labels: ``(n_test,)``.
        k: see ``knn_votes``.
        temperature: see ``knn_votes``.

    Returns:
        NaN if a feature is not finite.

    Raises:
        ValueError: if the shapes do not fit or a set is empty.
    """
    _check_rows(test, test_labels, 'test')
    if not (train.isfinite().all() and test.isfinite().all()):
        return math.nan
    votes = knn_votes(train, train_labels, test, k, temperature)
    return float((votes.argmax(1) == test_labels).float().mean() * 100)


def knn_votes(
    train: Tensor, train_labels: Tensor, test: Tensor, k: int = 20, temperature: float = 0.07
) -> Tensor:
    """Votes of the k nearest neighbours under cosine similarity.

    Neighbours vote with ``exp(similarity / temperature)`` (Wu et al., arXiv 1805.01978). Features
    are centred by the training mean first, as those of video encoders share a large constant part.

    Args:
        train: ``(n_train, C)``, one row per labelled sample.
        train_labels: ``(n_train,)``.
        test: ``(n_test, C)``.
        k: neighbours; no more than there are training samples are used.
        temperature: of the votes.

    Returns:
        ``(n_test, classes)``, not normalised.

    Raises:
        ValueError: if the shapes do not fit or the training set is empty.
    """
    _check_rows(train, train_labels, 'train')
    mean = train.float().mean(0)
    similarity = (
        F.normalize(test.float() - mean, dim=1) @ F.normalize(train.float() - mean, dim=1).T
    )
    values, neighbours = similarity.topk(min(k, len(train)), dim=1)
    votes = torch.zeros(len(test), int(train_labels.max()) + 1, device=test.device)
    return votes.scatter_add_(1, train_labels[neighbours], (values / temperature).exp())


def linear_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, strength: float = 1.0
) -> float:
    """Accuracy (%) of multinomial logistic regression on standardised features.

    Deterministic, and without a draw from any random generator.

    Args:
        train: ``(n_train, C)``, one row per labelled sample.
        train_labels: ``(n_train,)``.
        test: ``(n_test, C)``.
        test_labels: ``(n_test,)``.
        strength: of the fit over the penalty on weights (scikit-learn's ``C``).

    Returns:
        NaN if a feature is not finite.

    Raises:
        ValueError: if the shapes do not fit, a set is empty or all training labels are equal.
    """
    _check_rows(train, train_labels, 'train')
    _check_rows(test, test_labels, 'test')
    if len(train_labels.unique()) < 2:
        raise ValueError('a linear probe needs training samples of at least two classes')
    rows = [part.detach().cpu().double() for part in (train, test)]
    if not all(part.isfinite().all() for part in rows):
        return math.nan
    mean, std = rows[0].mean(0), rows[0].std(0, correction=0)
    fit, seen = (((part - mean) / (std + 1e-6)).numpy() for part in rows)
    classifier = LogisticRegression(C=strength / fit.shape[1], max_iter=200)
    classifier.fit(fit, train_labels.cpu().numpy())
    return float(100 * classifier.score(seen, test_labels.cpu().numpy()))


def _check_rows(features: Tensor, labels: Tensor, name: str) -> None:
    if features.dim() != 2 or labels.shape != features.shape[:1] or not len(labels):
        raise ValueError(
            f'k-NN needs {name} features (n, C), n > 0 labels, found {tuple(features.shape)} and '
            f'{tuple(labels.shape)}'
        )
