import pytest

from benchmarks.counted import (
    COMPONENTS,
    count_components,
    published_run,
    state_bytes,
)


def test_components_add_up_to_the_step():
    report = count_components(('large',), (16,))
    (row,) = report.rows
    assert sum(row[name] for name in COMPONENTS) == pytest.approx(row['whole step'], abs=4)


def test_the_published_run_is_the_sum_of_its_stages():
    rows = published_run('large').rows
    assert [row['stage'] for row in rows] == ['warm-up', 'stable 1', 'stable 2', 'cool-down', 'all']
    assert rows[-1]['EFLOP'] == pytest.approx(sum(row['EFLOP'] for row in rows[:-1]))
    assert rows[1]['EFLOP'] / rows[0]['EFLOP'] == pytest.approx(28 / 12)


def test_state_is_four_copies_of_what_learns_and_the_reference():
    """ViT-L 303M, predictor 22M, decoder 33M: published in Table 7."""
    assert state_bytes('large') / 4 == pytest.approx(4 * (303e6 + 22e6 + 33e6) + 303e6, rel=0.02)
