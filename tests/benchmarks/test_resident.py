import pytest
import torch

from benchmarks import resident
from benchmarks.resident import make_room, peak_since, resident_bytes, start_measuring

MIB = 2**20


def test_the_peak_outlives_what_caused_it():
    before = start_measuring()
    torch.zeros(64 * MIB // 4).add_(1)
    assert 60 * MIB < peak_since(before, 'cpu') < 200 * MIB
    assert start_measuring() - before < 32 * MIB


def test_the_process_has_a_size():
    assert resident_bytes() > 50 * MIB


@pytest.mark.parametrize(('share', 'calls'), [(1.0, 0), (0.0, 1)])
def test_only_a_large_process_gives_back(monkeypatch, share, calls):
    given = []
    monkeypatch.setattr(resident, 'CROWDED', share)
    monkeypatch.setattr(resident, 'give_back', lambda: given.append(1))
    make_room()
    assert len(given) == calls
