import pytest
import torch
from probing import build_probe, toy_batches

from nextvid_mm.evaluation.cached_probe import ProbeSchedule, extract_features, run_probe


def test_a_separable_problem_is_learned():
    result = run_probe(build_probe(), toy_batches(), toy_batches(), ProbeSchedule(epochs=15))
    assert result['top1'] > 90
    assert result['mode'] == 'cached features'
    assert set(result['seconds']) == {'encode', 'train', 'evaluate'}


def test_the_same_seed_gives_the_same_probe():
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build_probe()
        run_probe(model, toy_batches(), toy_batches(), ProbeSchedule(epochs=2, seed=3))
        results.append(torch.cat([p.flatten() for p in model.cls_head.parameters()]))
    assert torch.equal(*results)


def test_features_are_kept_view_by_view():
    features = extract_features(build_probe(), toy_batches(count=8, clips=2))
    assert features.tokens.shape == (8, 2, 4 * 16, 24)
    assert features.labels.tolist() == [number % 3 for number in range(8)]


def test_probes_train_on_one_view():
    with pytest.raises(ValueError, match='one view per video, found 2'):
        run_probe(build_probe(), toy_batches(clips=2), toy_batches())


@pytest.mark.parametrize('settings', [dict(epochs=0), dict(batch_size=0)])
def test_empty_schedules_are_refused(settings):
    with pytest.raises(ValueError, match='must be at least 1'):
        ProbeSchedule(**settings)
