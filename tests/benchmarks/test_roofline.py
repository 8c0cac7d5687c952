"""Bounds: what counts of an operator, and that a table adds up."""

import pytest
import torch

from benchmarks.roofline import DEVICES, Device, bounds
from benchmarks.tracing import Work
from benchmarks.workload import Workload


def test_the_slower_of_bytes_and_operations_is_what_counts():
    device = Device('slow', bandwidth=100.0, half=1000.0, single=100.0)
    work = Work('target', 'mm', 'product', torch.bfloat16, 60, 25, 700)
    assert device.seconds(work) == pytest.approx(1.0)
    assert device.seconds(work._replace(flops=1400)) == pytest.approx(2.0)
    assert device.seconds(work._replace(dtype=torch.float32)) == pytest.approx(10.0)
    assert device.seconds(work._replace(kind='attention', flops=900)) == pytest.approx(2.0)


def test_the_report_adds_up():
    load = Workload('tiny', 8, 4, 64, 'vae', images=1)
    table, biggest = bounds(['tiny'], [8], load, 'h100', top=5)
    (row,) = table.rows
    assert row['all'] == pytest.approx(row['memory'] + row['product'] + row['attention'], abs=1e-3)
    assert row['and images'] < row['compiled'] < row['all']
    assert 0 < row['target'] < row['all']
    assert len(biggest.rows) == 5
    assert 'lower bound' in table.title
    assert set(DEVICES) >= {'h100', 'a100'}


def test_recomputation_of_one_network_costs_less_than_of_all():
    """All but products moves more bytes and multiplies nothing again; everything does."""

    def row(**settings):
        (row,) = bounds(['tiny'], [8], Workload('tiny', 8, 2, 64, **settings))[0].rows
        return row

    plain, all_three = row(), row(with_cp='products')
    one = row(with_cp='products', recomputed=('predictor',))
    assert plain['memory'] < one['memory'] < all_three['memory']
    assert plain['product'] == one['product'] == all_three['product']
    assert plain['product'] < row(with_cp=True, recomputed=('predictor',))['product']
