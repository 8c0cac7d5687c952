import random

import numpy as np
import pytest
import torch

from nextvid_mm.datasets.rng import isolated_rng


def draw():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_same_seed_same_numbers_whatever_came_before():
    with isolated_rng(2**62 + 1):
        first = draw()
    draw()
    with isolated_rng(2**62 + 1):
        second = draw()
    with isolated_rng(2):
        other = draw()
    assert first == second
    assert all(a != b for a, b in zip(first, other, strict=True))


def test_high_and_low_words_of_the_seed_both_count():
    numbers = set()
    for seed in (1, 1 << 32, (1 << 32) + 1):
        with isolated_rng(seed):
            numbers.add(np.random.rand())
    assert len(numbers) == 3


def test_leaves_no_trace_even_after_an_error():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with pytest.raises(ZeroDivisionError), isolated_rng(7):
        1 / (draw() == expected)
    assert draw() == expected
