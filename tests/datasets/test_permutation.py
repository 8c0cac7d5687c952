import warnings

import numpy as np
import pytest

from nextvid_mm.datasets.permutation import make_key, mix, permute


@pytest.mark.parametrize('size', [1, 2, 3, 5, 8, 17, 256, 1000])
def test_is_a_bijection_for_every_size(size):
    for seed in range(5):
        result = permute(np.arange(size), size, make_key(seed))
        assert sorted(result.tolist()) == list(range(size))


def test_looking_up_one_value_agrees_with_looking_up_all():
    key = make_key(3, 4)
    everything = permute(np.arange(100), 100, key)
    assert [int(permute(value, 100, key)[0]) for value in range(100)] == everything.tolist()


def test_each_value_may_have_its_own_key():
    keys = make_key(1, np.array([5, 6]))
    result = permute(np.array([10, 10]), 1000, keys)
    alone = [int(permute(10, 1000, make_key(1, epoch))[0]) for epoch in (5, 6)]
    assert result.tolist() == alone
    assert alone[0] != alone[1]


@pytest.mark.parametrize('size', [4, 10, 64])
def test_every_value_reaches_every_place_equally_often(size):
    keys = make_key(np.arange(200 * size))
    places = permute(np.zeros(200 * size, dtype=np.int64), size, keys)
    counts = np.bincount(places, minlength=size)
    # 200 expected per place; six standard deviations of a binomial.
    assert np.abs(counts - 200).max() < 6 * 200**0.5


def test_neighbours_do_not_stay_neighbours():
    result = permute(np.arange(10_000), 10_000, make_key(0))
    correlation = np.corrcoef(result[:-1], result[1:])[0, 1]
    assert abs(correlation) < 0.05


def test_large_domains_cost_no_memory():
    size = 10**12
    values = np.array([0, 1, size - 1])
    result = permute(values, size, make_key(0))
    assert len(set(result.tolist())) == 3
    assert result.max() < size


def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        permute(3, 10, make_key(-1, 2**70))


def test_mix_changes_about_half_the_bits():
    words = np.arange(1000, dtype=np.uint64)
    changed = np.bitwise_count(mix(words) ^ mix(words ^ np.uint64(1)))
    assert 30 < changed.mean() < 34


def test_refuses_values_outside_the_domain():
    with pytest.raises(ValueError, match='value 5 is outside'):
        permute(5, 5, make_key(0))
    with pytest.raises(ValueError, match='cannot permute 0 elements'):
        permute(np.array([], dtype=int), 0, make_key(0))
