import pytest
import torch

from nextvid_mm.evaluation import ReadableAccMetric


def test_what_could_not_be_read_is_not_scored():
    metric = ReadableAccMetric(metric_list=('top_k_accuracy',))
    good = dict(pred_score=torch.tensor([0.9, 0.1]), gt_label=torch.tensor([0]), path='a.mp4')
    bad = dict(good, gt_label=torch.tensor([1]), path='b.mp4', failure='cut off')
    metric.process([], [good, bad])
    assert len(metric.results) == 1
    assert metric.compute_metrics(metric.results)['top1'] == 1.0
    with pytest.raises(ValueError, match='no sample could be read'):
        metric.compute_metrics([])
