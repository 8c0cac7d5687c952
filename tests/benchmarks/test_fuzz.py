import numpy as np
import pytest

from benchmarks.fuzz import DAMAGES, damaged, fuzz


def test_a_seed_gives_the_same_damage():
    content = bytes(range(256)) * 40
    kinds = set()
    for seed in range(60):
        kind, data = damaged(content, np.random.default_rng(seed))
        assert (kind, data) == damaged(content, np.random.default_rng(seed))
        kinds.add(kind)
    assert kinds == set(DAMAGES)


@pytest.mark.slow
def test_damaged_files_neither_crash_nor_hang_and_are_listed(global_state):
    report = fuzz(68, seed=3)
    assert sum(row['files'] for row in report.rows) == 68
    assert not any(row[bad] for row in report.rows for bad in ('crashes', 'hangs', 'not listed'))
    assert sum(row['read'] for row in report.rows)
    assert sum(row['replaced and listed'] for row in report.rows)
