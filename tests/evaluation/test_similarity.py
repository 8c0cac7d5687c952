"""Neighbours, twins, loners and clusters of made-up features."""

import numpy as np
import pytest
import torch

from nextvid_mm.evaluation import similarity
from nextvid_mm.evaluation.similarity import clusters, directions, loneliness, nearest, twins


@pytest.fixture
def features():
    """Three bunches of ten around axes 0 to 2 on a large constant; the last sample on axis 3."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.eye(8)[torch.arange(30) % 3] * 5 + 0.3 * torch.randn(30, 8, generator=draws)
    return torch.cat([rows, torch.eye(8)[3:4] * 5]) + 100


def test_directions_do_not_see_the_constant(features):
    units = directions(features)
    torch.testing.assert_close(units, directions(features + 50), atol=1e-3, rtol=0)
    torch.testing.assert_close(units.norm(dim=1), torch.ones(31))
    torch.testing.assert_close(directions(features, features[4:6]), units[4:6])


def test_nearest_are_of_the_same_bunch(features, monkeypatch):
    units = directions(features)
    values, numbers = nearest(units, units[:4], 10)
    assert numbers[:, 0].tolist() == [0, 1, 2, 3]
    assert (numbers % 3 == torch.arange(4)[:, None] % 3).all()
    assert (values.diff(dim=1) <= 1e-6).all()
    monkeypatch.setattr(similarity, '_BLOCK', 3)
    assert torch.equal(nearest(units, units[:4], 10)[1], numbers)
    assert nearest(units, units[:1], 99)[0].shape == (1, 31)


def test_twins_are_linked_in_any_block(features, monkeypatch):
    features[17], features[25], features[28] = features[2], features[2] + 1e-4, features[9]
    units = directions(features)
    assert twins(units, 0.9999) == [[2, 17, 25], [9, 28]]
    monkeypatch.setattr(similarity, '_BLOCK', 4)
    assert twins(units, 0.9999) == [[2, 17, 25], [9, 28]]
    assert twins(directions(torch.eye(5)), 0.9) == []
    draws = torch.randn(40, 33, generator=torch.Generator().manual_seed(0))
    copies = twins(directions(torch.cat([draws, draws])), 1.0)
    assert copies == [[n, n + 40] for n in range(40)]


def test_who_is_like_no_other(features):
    lone = loneliness(features)
    assert lone.argmax() == 30
    assert lone[30] > 3.5
    assert (lone[:30] < lone[30] / 2).all()
    features[30] = 100 + 4 * (features[0] - 100)  # the direction of others, but far out
    assert loneliness(features).argmax() == 30


def test_clusters_are_the_bunches_largest_first(features):
    units = directions(features)
    groups = clusters(units, 4)
    assert sorted(map(len, groups), reverse=True) == list(map(len, groups)) == [10, 10, 10, 1]
    assert all(len({n % 3 for n in group}) == 1 for group in groups[:3])
    assert groups == clusters(units, 4)
    centre = units[groups[0]].mean(0)
    away = (units[groups[0]] - centre).norm(dim=1)
    assert np.argsort(away.numpy()).tolist() == list(range(10))
    assert len(clusters(units[:3], 9)) == 3


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match='among 1 samples'):
        directions(torch.ones(1, 3))
    with pytest.raises(ValueError, match='not finite'):
        directions(torch.tensor([[1.0, float('nan')], [0.0, 1.0]]))
