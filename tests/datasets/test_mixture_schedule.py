import math
import warnings

import numpy as np
import pytest
from paper import SHARES

from nextvid_mm.datasets.mixture_schedule import MixtureSchedule, make_key, mix, permute

# Rough sizes of the datasets.
NAMES, WEIGHTS = list(SHARES), list(SHARES.values())
LENGTHS = [1_281_167, 168_913, 240_000, 10_000_000, 20_000_000]


@pytest.fixture(scope='module')
def paper():
    return MixtureSchedule(NAMES, WEIGHTS, LENGTHS, seed=0)


@pytest.fixture(scope='module')
def million(paper):
    return paper.draw(np.arange(1_000_000))


def test_proportions_over_a_million_draws(million):
    shares = np.bincount(million.source) / 1e6
    assert np.abs(shares / WEIGHTS - 1).max() < 0.002
    assert np.abs(shares - WEIGHTS).max() < 1e-5


def test_counts_are_exact_at_every_block_boundary(paper, million):
    cumulative = np.cumsum(million.source[:, None] == np.arange(5), axis=0)
    for blocks in (1, 2, 3, 100, 3906):
        expected = np.array(WEIGHTS) * blocks * paper.strata[0].block
        assert np.abs(cumulative[blocks * paper.strata[0].block - 1] - expected).max() <= 1


STATIC = [True, False, False, False, False]


@pytest.fixture(scope='module')
def balanced():
    return MixtureSchedule(NAMES, WEIGHTS, LENGTHS, seed=0, static=STATIC)


@pytest.mark.parametrize('micro', [1, 5, 8, 32])
def test_every_micro_batch_of_every_rank_has_the_same_number_of_images(balanced, micro):
    sources = balanced.draw(np.arange(micro * 3000)).source.reshape(3000, micro)
    counts = (sources == 0).sum(axis=1)
    assert set(counts.tolist()) <= {math.floor(micro / 4), math.ceil(micro / 4)}
    assert 0 < counts.sum() == round(micro * 3000 / 4)


def test_balancing_keeps_proportions_items_and_random_access(balanced):
    draws = balanced.draw(np.arange(200_000))
    counts = np.bincount(draws.source, minlength=5)
    assert np.abs(counts - 200_000 * np.array(WEIGHTS)).max() < 100
    assert balanced.drawn_before(200_000) == counts.tolist()
    assert balanced.drawn_before(77_777) == np.bincount(draws.source[:77_777]).tolist()
    for place in (0, 3, 4, 12_345, 199_999):
        alone = balanced.draw(place)
        assert (alone.source[0], alone.item[0]) == (draws.source[place], draws.item[place])
    for source in range(5):
        items = draws.item[(draws.source == source) & (draws.epoch == 0)]
        assert len(np.unique(items)) == len(items) > 9000


def test_static_sources_alone_and_odd_weights_work():
    images = MixtureSchedule(['a', 'b'], [1, 2], [10, 10], 0, static=[True, True])
    assert images.drawn_before(768) == [256, 512]
    odd = MixtureSchedule(['a', 'b'], [0.1234567890123456, 1], [10, 10], 0, static=[True, False])
    counts = odd.drawn_before(10**9)
    assert sum(counts) == 10**9
    assert abs(counts[0] - 10**9 * 0.1234567890123456 / 1.1234567890123456) < 300


def test_every_rank_sees_the_proportions(million):
    # 96 processes, micro-batches of 32: rank r has every 96th piece of 32 positions.
    pieces = million.source[: 96 * 32 * 325].reshape(325, 96, 32)
    for rank in range(96):
        shares = np.bincount(pieces[:, rank].ravel(), minlength=5) / (325 * 32)
        assert np.abs(shares - WEIGHTS).max() < 0.02


def test_seek_to_sample_ten_million_costs_what_the_first_costs(monkeypatch):
    schedule = MixtureSchedule(NAMES, WEIGHTS, LENGTHS, seed=1)
    mixed = []
    count = lambda words: mixed.append(words.size) or mix(words)  # noqa: E731
    monkeypatch.setattr('nextvid_mm.datasets.mixture_schedule.mix', count)
    for position in (0, 10_000_000):
        mixed.clear()
        draws = schedule.draw(position)
        assert 0 <= draws.item[0] < LENGTHS[draws.source[0]]
        assert sum(mixed) < 100, position


def test_any_order_and_grouping_gives_the_same_draws(paper, million):
    positions = np.array([999_999, 5, 1000, 255, 256, 5])
    draws = paper.draw(positions)
    for field in ('source', 'item', 'epoch'):
        assert (getattr(draws, field) == getattr(million, field)[positions]).all()


def test_an_epoch_of_a_source_holds_each_item_once():
    schedule = MixtureSchedule(['a', 'b'], [1, 2], [10, 37], seed=3)
    draws = schedule.draw(np.arange(3000))
    for source, length in enumerate([10, 37]):
        items = draws.item[draws.source == source]
        epochs = draws.epoch[draws.source == source]
        for epoch in range(3):
            assert sorted(items[epochs == epoch].tolist()) == list(range(length))
        orders = [tuple(items[epochs == epoch].tolist()) for epoch in range(20)]
        assert len(set(orders)) == 20, 'epochs must be shuffled anew'


def test_epochs_follow_one_another_in_draw_order():
    schedule = MixtureSchedule(['a'], [1], [300], seed=0)
    epochs = schedule.draw(np.arange(schedule.strata[0].block * 10)).epoch
    # Inside a block the order is shuffled, between blocks it is not.
    firsts = epochs.reshape(10, -1).min(axis=1)
    assert (np.diff(firsts) >= 0).all()
    assert epochs.max() == (schedule.strata[0].block * 10 - 1) // 300


def test_seed_changes_the_order_only():
    first, second = (
        MixtureSchedule(NAMES, WEIGHTS, LENGTHS, seed).draw(np.arange(512)) for seed in (0, 1)
    )
    assert (first.source != second.source).any()
    assert np.bincount(first.source).tolist() == np.bincount(second.source).tolist()


def test_weights_need_not_be_normalised_and_may_be_tiny():
    schedule = MixtureSchedule(['a', 'b'], [1e-4, 3], [5, 5], seed=0)
    draws = schedule.draw(np.arange(schedule.strata[0].block * 4))
    count = (draws.source == 0).sum()
    assert abs(count - 4 * schedule.strata[0].block * 1e-4 / 3.0001) <= 1
    assert count >= 1


def test_a_source_without_weight_is_never_drawn_and_may_be_empty():
    schedule = MixtureSchedule(['a', 'off', 'b'], [1, 0, 1], [5, 0, 5], seed=0)
    assert set(schedule.draw(np.arange(2000)).source.tolist()) == {0, 2}


@pytest.mark.parametrize('weights', [[0.1] * 10, [1 / 3, 1 / 3, 1 / 3], [0.7, 0.2, 0.1]])
def test_cumulative_weights_end_at_exactly_one(weights):
    names = [str(n) for n in range(len(weights))]
    schedule = MixtureSchedule(names, weights, [5] * len(weights), seed=0)
    assert schedule.strata[0].cumulative[-1] == 1
    far = schedule.draw(10**15 + np.arange(schedule.strata[0].block))
    assert set(np.unique(far.source)) == set(range(len(weights)))


@pytest.mark.parametrize(
    ('weights', 'message'),
    [
        ([0.5, -0.1], "source 'b' of the mixture: weight=-0.1"),
        ([math.nan, 1], "source 'a' of the mixture: weight=nan"),
        ([1, math.inf], "source 'b' of the mixture: weight=inf"),
        ([1, '2'], "source 'b' of the mixture: weight='2'"),
        ([0, 0.0], 'sum to 0'),
    ],
)
def test_refuses_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        MixtureSchedule(['a', 'b'], weights, [5, 5], seed=0)


def test_refuses_empty_sources_and_no_sources():
    with pytest.raises(ValueError, match="source 'b' of the mixture is empty"):
        MixtureSchedule(['a', 'b'], [1, 1], [5, 0], seed=0)
    with pytest.raises(ValueError, match='no source'):
        MixtureSchedule([], [], [], seed=0)
    with pytest.raises(ValueError, match='must differ'):
        MixtureSchedule(['a', 'a'], [1, 1], [5, 5], seed=0)


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
