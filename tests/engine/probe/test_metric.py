import pytest
import torch

from nextvid_mm.engine.probe.metric import ProbeMetric


def sample(index, scores, label, **extra):
    return dict(
        view_scores=torch.tensor(scores),
        gt_label=torch.tensor([label]),
        sample_idx=index,
        filename=f'{index}.mp4',
        probe_members=['a', 'b'],
        fixed_member=0,
        **extra,
    )


# Two views of two members over three classes.
SURE = [[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]], [[0.2, 0.5, 0.3], [0.1, 0.8, 0.1]]]


def evaluate(samples, size=None):
    metric = ProbeMetric(topk=(1, 2))
    metric.process(None, samples)
    metric.evaluate(size or len(samples))
    return metric.details


def test_views_are_averaged_as_probabilities():
    """Member a: (0.8 + 0.2) / 2 = 0.5 for class 0 against 0.3 and 0.2."""
    details = evaluate([sample(0, SURE, 0), sample(1, SURE, 1)])
    a, b = details['members'][0], details['members'][1]
    assert a['merged']['top1'] == 50.0
    assert a['merged']['top2'] == 100.0
    assert b['merged']['top1'] == 50.0


def test_the_best_member_is_named_beside_the_fixed_one():
    details = evaluate([sample(0, SURE, 1), sample(1, SURE, 1)])
    assert details['best_member'] == 1
    assert details['fixed_member'] == 0
    assert details['members'][1]['merged']['top1'] == 100.0
    assert details['members'][0]['merged']['top1'] == 0.0


def test_a_repeated_sample_counts_once():
    details = evaluate([sample(0, SURE, 0), sample(1, SURE, 1), sample(0, SURE, 0)], size=2)
    assert details['members'][0]['merged']['top1'] == 50.0


def test_an_undecodable_video_is_reported_and_not_scored():
    details = evaluate([sample(0, SURE, 0), sample(1, SURE, 1, failure='broken')])
    assert details['members'][0]['merged']['top1'] == 100.0
    assert '1.mp4' in str(details)
    assert 'broken' in str(details)


def test_nothing_decodable_is_an_error():
    with pytest.raises(ValueError, match='none of 1 samples could be evaluated'):
        evaluate([sample(0, SURE, 0, failure='broken')])


def test_top1_is_needed():
    with pytest.raises(ValueError, match='must contain 1'):
        ProbeMetric(topk=(5,))
