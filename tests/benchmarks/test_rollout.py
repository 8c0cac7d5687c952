"""Roll-outs with and without the cache are timed side by side."""

from benchmarks.rollout import compare_rollout
from benchmarks.workload import Workload


def test_the_cache_saves_encoding_the_past_again():
    report = compare_rollout(Workload(frames=8, batch=1), tubelets=8, num_steps=1, repeats=3)
    whole, whole_again, context, context_again = report.rows
    assert whole['times the cache'] == context['times the cache'] == 1
    assert whole_again['times the cache'] > 1
    assert context_again['times the cache'] > 1
    assert context['median s'] < whole['median s']
    assert '8 tubelets, 1 solver steps' in report.title
