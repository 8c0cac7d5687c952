import math
from dataclasses import replace

import pytest
from ablation_results import ROWS, SCORES
from ablation_results import made_up_results as results

from nextvid_mm.demo.ablations import (
    Moment,
    RunResult,
    best_settings,
    comparison,
    markdown,
    select_rows,
)
from nextvid_mm.demo.ablations.comparing import Difference, paired


def test_paired_differences_have_students_intervals():
    found = paired({0: 3.0, 1: 5.0, 2: 4.0, 9: 100.0}, {0: 1.0, 1: 1.0, 2: 1.0})
    assert (found.mean, found.seeds) == (3.0, 3)
    assert found.half == pytest.approx(4.302653 / 3**0.5)
    assert found.apart
    assert str(found) == '+3.0 ± 2.5 *'
    assert str(Difference(1.0, 2.5, 3)) == '+1.0 ± 2.5'


def test_one_seed_is_never_apart_and_no_common_seed_is_nothing():
    one = paired({0: 90.0}, {0: 10.0})
    assert (one.half, one.apart, str(one)) == (math.inf, False, '+80.0')
    assert paired({0: 90.0}, {1: 10.0}) is None


def test_rows_are_compared_at_equal_steps_and_at_equal_time():
    entries = comparison(ROWS, results()).entries
    first, peer, untrained = (entries[row.name] for row in ROWS)
    assert peer.gaps['how'].mean == pytest.approx(-9.5)
    assert peer.gaps['both'].mean == pytest.approx(-4.75)
    # After 200 seconds the full method is at its first moment, 20 % of its steps: 20 and 30 %.
    assert peer.equal_seconds == 200.0
    assert peer.timed_gaps['how'].mean == pytest.approx(52.5 - 25)
    assert peer.timed_gaps['both'].mean == pytest.approx((52.5 - 25) / 2)
    nothing = dict(how=None, what=None, both=None)
    assert first.gaps == first.timed_gaps == untrained.timed_gaps == nothing
    assert untrained.gaps['how'].mean == pytest.approx(-29)


def test_equal_time_is_that_of_the_two_rows_and_nothing_is_known_before_the_first_moment():
    quick = results(scores=SCORES | {'next-frame': (SCORES['next-frame'][0], 100.0)})
    entry = comparison(ROWS, quick).entries['next-frame']
    assert entry.equal_seconds == 100.0
    assert entry.timed_gaps == dict(how=None, what=None, both=None)
    # The other way round, the row that is compared is the slower one.
    entries = comparison([ROWS[1], ROWS[0]], results()).entries
    assert entries['table2_full'].equal_seconds == 200.0
    assert entries['table2_full'].timed_gaps['how'].mean == pytest.approx(25 - 52.5)


def test_runs_without_bfloat16_are_counted():
    exact = [replace(run, machine=dict(bfloat16=run.seed == 0)) for run in results()]
    found = comparison(ROWS, exact)
    assert [found.entries[row.name].seeds for row in ROWS] == ['2 (1 in float32)'] * 2 + ['2']


def test_times_of_several_machines_are_those_of_the_one_that_ran_the_first_row_most():
    quick, slow, other = (dict(processor=name) for name in ('quick', 'slow', 'other'))
    machines = {('table2_full', 2): slow, ('next-frame', 2): slow, ('next-frame', 3): other}
    scores = {name: ([levels[0]] * 4, cost) for name, (levels, cost) in SCORES.items()}
    runs = []
    for run in results(4, scores=scores):
        machine = machines.get((run.row, run.seed), quick)
        factor = {'quick': 1, 'slow': 2, 'other': 3}[machine['processor']]
        moments = [replace(m, cpu_seconds=m.cpu_seconds * factor) for m in run.moments]
        runs.append(replace(run, machine=machine, moments=moments))
    found = comparison(ROWS, runs)
    assert found.entries['table2_full'].cpu_seconds == 1000.0
    # By the first row where a machine has run it, else by others that both have run.
    peer = found.entries['next-frame']
    assert peer.equal_seconds == peer.cpu_seconds == 200.0
    assert peer.timed_gaps['how'].seeds == 4
    assert peer.timed_gaps['how'].mean == pytest.approx(50 - 20)
    # Steps need no clock; what seconds of a machine without such a row are worth is not known.
    alone = [replace(run, machine=other) for run in runs if run.row == 'next-frame']
    only = comparison(ROWS, [run for run in runs if run.row != 'next-frame'] + alone)
    assert only.entries['next-frame'].gaps['how'].seeds == 4
    assert only.entries['next-frame'].timed_gaps['how'] is None
    assert 'nan' not in markdown(only)


def test_rows_without_results_are_left_out():
    found = comparison(ROWS, [run for run in results() if run.row != 'table2_full'])
    assert [row.name for row in found.rows] == ['next-frame', 'untrained']


def searched(rows, scores):
    budget = dict(steps_scale=0.3, options={}, probe_options={})
    top1 = [dict(how=float(how), what=50.0) for how in scores]
    return [
        RunResult(row.name, {}, 100, budget, [Moment(1, 1, 1.0, 1.0, {}, seen, seen, 9.0, 1.0)], {})
        for row, seen in zip(rows, top1, strict=True)
    ]


def test_the_best_setting_of_each_method_is_named():
    rows = select_rows('search')
    best = best_settings(comparison(rows, searched(rows, range(24))))
    assert [row.name for row in best] == [rows[place].name for place in (5, 11, 17, 23)]


def test_a_collapsed_seed_is_shown_and_counted():
    found = comparison(ROWS, results(rank=1.1))
    assert found.entries['table2_full'].seeds == '2 (collapsed: 0, 1)'
    assert found.entries['table2_full'].level('how') == '62.0 ± 2.8'
