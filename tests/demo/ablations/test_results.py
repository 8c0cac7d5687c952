import json
import math
from dataclasses import replace

import pytest

from nextvid_mm.demo.ablations.results import (
    Budget,
    Moment,
    RunResult,
    check_folder,
    read_folder,
    read_result,
    result_file,
    write_result,
)
from nextvid_mm.demo.ablations.tables import Row

BUDGET = dict(steps_scale=1.0, options={}, probe_options={})
ROWS = [Row(name, name, f'{name}.py', options=(('lr', 1.0),)) for name in 'ab']


def run(row='a', seed=0, rank=9.0, budget=BUDGET, setting=ROWS[0].setting):
    moments = [
        Moment(step, 16 * step, 10.0 * step, 1.0, {}, {}, dict(how=how, what=50.0), rank, 1.0)
        for step, how in ((1, 20.0), (3, 40.0))
    ]
    return RunResult(row, setting, seed, budget, moments, {})


def test_a_result_is_read_as_it_was_written(tmp_path):
    path = result_file(tmp_path, 'a', 3)
    write_result(path, run(seed=3))
    assert path.name == 'a_seed_3.json'
    assert read_result(path) == run(seed=3)


def test_a_file_that_is_something_else_is_named(tmp_path):
    path = tmp_path / 'a_seed_0.json'
    for text in ('{', '[]', '{"moments": [{"x": 1}]}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r'a_seed_0\.json is no result of run_ablations'):
            read_result(path)


def test_accuracy_at_some_time_lies_between_moments():
    found = [run().at_seconds(seconds, 'how') for seconds in (10.0, 20.0, 99.0, float('inf'))]
    assert found == [20.0, 30.0, 40.0, 40.0]
    assert math.isnan(run().at_seconds(1.0, 'how'))


@pytest.mark.parametrize(('rank', 'collapsed'), [(1.2, True), (float('nan'), True), (9.0, False)])
def test_features_on_a_line_have_collapsed(rank, collapsed):
    assert run(rank=rank).collapsed is collapsed


def test_nothing_is_trained_in_no_steps():
    with pytest.raises(ValueError, match='steps_scale=0 must be larger than 0'):
        Budget(0)


def test_rows_of_different_budgets_are_refused(tmp_path):
    write_result(result_file(tmp_path, 'a', 0), run())
    write_result(result_file(tmp_path, 'b', 1), run('b', 1, setting=ROWS[1].setting))
    assert [(r.row, r.seed) for r in read_folder(tmp_path, ROWS, (1, 0), Budget())] == [
        ('b', 1),
        ('a', 0),
    ]
    other = json.loads(json.dumps(BUDGET | dict(steps_scale=0.5)))
    write_result(result_file(tmp_path, 'c', 0), run('c', budget=other))
    with pytest.raises(ValueError, match=r'c_seed_0\.json is a run of another budget.*--results'):
        read_folder(tmp_path, ROWS[:1], (0,), Budget())
    with pytest.raises(ValueError, match=r'a_seed_0\.json'):
        check_folder(tmp_path, ROWS, Budget(0.5))


def test_a_row_as_it_was_once_is_refused(tmp_path):
    write_result(result_file(tmp_path, 'a', 0), run())
    changed = replace(ROWS[0], rate=0.2)
    check_folder(tmp_path, [ROWS[0], ROWS[1]], Budget())
    check_folder(tmp_path, [ROWS[1]], Budget())
    with pytest.raises(ValueError, match=r"a_seed_0\.json is a run of another.*'rate': 0\.2.* now"):
        check_folder(tmp_path, [changed], Budget())
