import numpy as np
import pytest
from scipy import stats

from nextvid_mm.evaluation.intervals import CONFIDENCE, half_interval, student_quantile


def test_half_an_interval_is_scipy_s():
    values = np.random.default_rng(0).normal(3, 2, 6).tolist()
    low, high = stats.t.interval(CONFIDENCE, 5, np.mean(values), stats.sem(values))
    assert half_interval(values) == pytest.approx((high - low) / 2)
    assert student_quantile(10**6) == pytest.approx(1.96, abs=1e-3)


def test_one_value_has_no_interval():
    with pytest.raises(ValueError, match='two values at least, found 1'):
        half_interval([1.0])


def test_what_is_not_finite_is_said():
    assert np.isnan(half_interval([1.0, float('nan')]))
