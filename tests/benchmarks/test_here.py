"""Predictions for this CPU: how sizes are looked up, and that a table comes out."""

import pytest
import torch

from benchmarks.here import Probed, between, compare_here, probe
from benchmarks.tracing import Work
from benchmarks.workload import Workload


def test_between_measured_sizes_it_goes_by_powers():
    points = [(10.0, 1.0), (1000.0, 100.0), (100000.0, 100.0)]
    assert between(points, 100.0) == pytest.approx(10.0)
    assert between(points, 1.0) == 1.0  # a call takes that
    assert between(points, 10000.0) == pytest.approx(100.0)
    assert between(points, 200000.0) == pytest.approx(200.0)


def test_work_is_looked_up_by_its_kind():
    kinds = ('memory', 'function', 'function16', 'norm')
    kinds += tuple(f'{k}{n}' for k in ('product', 'attention', 'back') for n in (16, 32))
    seconds = {kind: float(number + 1) for number, kind in enumerate(kinds)}
    device = Probed(
        'here', 1.0, 1.0, 1.0, points={k: [(1.0, s), (9.0, s)] for k, s in seconds.items()}
    )
    work = Work('encoder', 'mm', 'product', torch.bfloat16, 1, 1, 2)
    assert device.seconds(work) == pytest.approx(seconds['product16'])
    assert device.seconds(work._replace(dtype=torch.float32)) == pytest.approx(seconds['product32'])
    attention = work._replace(kind='attention', name='_flash', dtype=torch.float32)
    assert device.seconds(attention) == pytest.approx(seconds['attention32'])
    assert device.seconds(attention._replace(name='_flash_backward')) == pytest.approx(
        seconds['back32']
    )
    moved = work._replace(kind='memory', name='add')
    assert device.seconds(moved) == pytest.approx(seconds['memory'])
    assert device.seconds(moved._replace(name='gelu')) == pytest.approx(seconds['function16'])
    assert device.seconds(moved._replace(name='native_layer_norm')) == pytest.approx(
        seconds['norm']
    )


def test_a_step_is_predicted_and_measured():
    device = probe(repeats=1, largest=12)
    assert all(size > 0 and seconds > 0 for p in device.points.values() for size, seconds in p)
    (row,) = compare_here([Workload('tiny', 4, 1)], repeats=1, device=device).rows
    assert row['predicted s'] > 0
    assert row['predicted / measured'] == pytest.approx(row['predicted s'] / row['measured s'])
