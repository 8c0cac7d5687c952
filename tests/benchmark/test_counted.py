import pytest

from nextvid_mm.benchmark.counted import COMPONENTS, count_components, published_run


def test_components_add_up_to_the_step():
    report = count_components(('large',), (16,))
    (row,) = report.rows
    assert sum(row[name] for name in COMPONENTS) == pytest.approx(row['whole step'], abs=4)


def test_the_published_run_is_the_sum_of_its_stages():
    rows = published_run('large').rows
    assert [row['stage'] for row in rows] == [1, 2, 3, 4, 'all']
    assert rows[-1]['EFLOP'] == pytest.approx(sum(row['EFLOP'] for row in rows[:-1]))
    assert rows[1]['EFLOP'] / rows[0]['EFLOP'] == pytest.approx(28 / 12)
