"""Rollouts with and without the cache are timed side by side."""

from statistics import median

from benchmarks.rollout import compare_rollout
from benchmarks.workload import Workload


def test_both_ways_are_compared_turn_by_turn():
    report = compare_rollout(Workload(frames=8, batch=1), tubelets=2, num_steps=1, repeats=2)
    whole, whole_again, context, context_again = report.rows
    assert whole['times the cache'] == context['times the cache'] == 1
    for cached, again in ((whole, whole_again), (context, context_again)):
        pairs = zip(again['seconds'], cached['seconds'], strict=True)
        assert again['times the cache'] == median(slow / fast for slow, fast in pairs)
    assert '2 tubelets, 1 solver steps' in report.title
