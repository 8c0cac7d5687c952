import time

import pytest

from benchmarks.timing import CLOCKS, Series, matmul_peak, ratio, side_by_side, timed


def test_functions_take_turns_and_warm_up_is_not_counted():
    calls = []
    series = side_by_side({'a': lambda: calls.append('a'), 'b': lambda: calls.append('b')}, 3, 2)
    assert calls == ['a', 'b'] * 5
    assert {name: len(values.seconds) for name, values in series.items()} == dict(a=3, b=3)


def test_median_and_spread():
    series = Series((1.0, 2.0, 3.0, 4.0, 5.0))
    assert series.median == 3
    assert series.spread == pytest.approx(1 / 3)
    assert Series((2.0,)).spread == 0
    assert '3000 ms ±33%' in str(series)


def test_ratios_are_of_neighbours():
    """Twice as slow in every pair, though the machine became ten times slower in between."""
    assert ratio(Series((2.0, 20.0)), Series((1.0, 10.0))).seconds == (2.0, 2.0)


@pytest.mark.parametrize('clock', ['wall', 'cpu'])
def test_a_call_is_timed_by_the_clock_that_is_named(monkeypatch, clock):
    assert dict(wall=time.perf_counter, cpu=time.process_time) == CLOCKS
    ticks = iter((1.0, 3.5))
    monkeypatch.setitem(CLOCKS, clock, lambda: next(ticks))
    assert timed(lambda: 'done', clock) == ('done', 2.5)


def test_a_matrix_product_has_a_rate():
    assert 1e8 < matmul_peak(sides=(128,), repeats=2) < 1e16


def test_the_peak_is_that_of_the_fastest_size(monkeypatch):
    seconds = {'64': (4.0, 1.0), '128': (2.0, 4.0)}
    fake = {side: Series(values) for side, values in seconds.items()}
    monkeypatch.setattr('benchmarks.timing.side_by_side', lambda *_: fake)
    assert matmul_peak(sides=(64, 128)) == 2.0 * 128**3 / 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(clock='sun'), "clock='sun' is not one of wall, cpu"),
        (dict(repeats=0), 'repeats=0 must be at least 1'),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        side_by_side({'a': int}, **options)
