"""Confidence intervals of what was measured with a few seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy.stats import t as student

CONFIDENCE = 0.95


def student_quantile(freedom: int) -> float:
    """Half of the interval, in standard errors, of an estimate with so many degrees of freedom."""
    return float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def half_interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean by Student's t; NaN if a value is.

    Raises:
        ValueError: if there are fewer than two values, of which there is none.
    """
    if len(values) < 2:
        raise ValueError(f'an interval needs two values at least, found {len(values)}')
    if any(map(math.isnan, values)):  # on which the module of statistics fails
        return math.nan
    error = statistics.stdev(values) / len(values) ** 0.5
    return student_quantile(len(values) - 1) * error
