import pytest

from benchmarks import memory
from benchmarks.memory import compare_memory, peak_memory
from benchmarks.workload import Workload

SMALL, LARGE = Workload('tiny', frames=4, batch=1), Workload('tiny', frames=8, batch=12)


@pytest.fixture(autouse=True)
def fast_start(monkeypatch):
    """A fork costs a tenth of a second where a new interpreter costs ten."""
    monkeypatch.setattr(memory, 'START', 'fork')


def test_larger_batches_need_more_memory():
    small, large = (peak_memory('ours', load, steps=1) for load in (SMALL, LARGE))
    assert large - small > 12 * 8 * 3 * 64**2 * 4, 'the clips alone'


def test_a_measurement_that_dies_says_so(capfd):
    with pytest.raises(RuntimeError, match='ended with exit code 1'):
        peak_memory('nobody', SMALL)


def test_the_table_compares_with_the_lightest(monkeypatch):
    peaks = {('ours', False): 100, ('ours', 'light'): 70, ('dense', False): 140}
    monkeypatch.setattr(
        memory, 'peak_memory', lambda kind, load, device: peaks[kind, load.with_cp] * 2**20
    )
    report = compare_memory(SMALL, baselines=('dense',))
    assert [row['MiB'] for row in report.rows] == [100, 70, 140]
    assert [row['ours over this'] for row in report.rows] == pytest.approx([0.7, 1, 0.5])
