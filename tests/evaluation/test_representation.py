import math

import pytest
import torch

from nextvid_mm.evaluation.representation import (
    effective_rank,
    feature_std,
    knn_accuracy,
    knn_votes,
    linear_accuracy,
)


def test_rank_counts_the_directions_features_spread_over():
    basis = torch.linalg.qr(torch.randn(16, 16)).Q
    for rank in (1, 3, 16):
        signs = torch.cat([torch.eye(rank), -torch.eye(rank)]).repeat(50, 1)
        assert effective_rank(signs @ basis[:rank]) == pytest.approx(rank, rel=0.03)


def test_collapsed_features_have_rank_one_and_no_spread():
    constant = torch.ones(10, 4, 8)
    assert effective_rank(constant) == 1.0
    assert feature_std(constant) == 0.0
    assert feature_std(3 * torch.randn(20000, 4)) == pytest.approx(3, rel=0.02)


def test_autocast_does_not_hide_a_collapse():
    line = torch.linspace(-1, 1, 400)[:, None] * torch.randn(256)
    with torch.autocast('cpu', torch.bfloat16):
        assert effective_rank(line) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_features_that_are_not_finite_have_no_rank(value):
    features = torch.randn(10, 8)
    features[3, 2] = value
    assert math.isnan(effective_rank(features))
    assert math.isnan(feature_std(features))


def test_neighbours_find_clusters_and_guess_on_noise():
    centres = torch.randn(4, 16) * 5
    labels = torch.arange(4).repeat(25)
    points = centres[labels] + torch.randn(100, 16)
    other = centres[labels] + torch.randn(100, 16)
    assert knn_accuracy(points, labels, other, labels, k=5) == 100.0
    noise = torch.randn(2, 400, 16)
    many = torch.arange(4).repeat(100)
    assert knn_accuracy(noise[0], many, noise[1], many) < 45


def test_neighbours_vote_by_similarity():
    train = torch.tensor([[1.0, 0.0], [0.8, 0.6], [-1.8, -0.6]])  # their mean is 0
    votes = knn_votes(train, torch.tensor([2, 0, 0]), torch.tensor([[1.0, 0.0]]), 2, 1.0)
    expected = [torch.tensor(0.8).exp(), torch.tensor(0.0), torch.tensor(1.0).exp()]
    torch.testing.assert_close(votes, torch.stack(expected)[None])


def test_a_linear_probe_finds_what_a_plane_separates_and_guesses_on_noise():
    labels = torch.arange(300) % 3
    directions = torch.eye(3, 8)[labels]
    train, test = (directions + 0.1 * torch.randn(300, 8) for _ in range(2))
    assert linear_accuracy(train * 100 + 7, labels, test * 100 + 7, labels) == 100.0
    noise = torch.randn(2, 300, 8)
    assert linear_accuracy(noise[0], labels, noise[1], labels) < 50


def test_measuring_draws_no_random_number_and_marks_bad_features():
    labels = torch.arange(20) % 2
    features = torch.randn(20, 4)
    state = torch.get_rng_state()
    first = linear_accuracy(features, labels, features, labels)
    assert linear_accuracy(features, labels, features, labels) == first
    knn_accuracy(features, labels, features, labels)
    assert torch.equal(torch.get_rng_state(), state)
    features[3, 1] = math.nan
    assert math.isnan(linear_accuracy(features, labels, features, labels))
    assert math.isnan(knn_accuracy(features, labels, features, labels))
    with pytest.raises(ValueError, match='at least two classes'):
        linear_accuracy(features, 0 * labels, features, labels)
