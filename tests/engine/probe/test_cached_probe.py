import pytest
import torch
from probing import build_probe, toy_batches

from nextvid_mm.engine.probe.cached_probe import (
    ProbeSchedule,
    evaluate_parts,
    evaluate_probes,
    extract_features,
    run_probe,
)


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


def test_extraction_stops_at_the_batch_that_reaches_the_limit():
    size = 8 * 4 * 16 * 24 * 4  # of a batch: videos, frames, patches, channels, bytes
    for limit, videos in ((1, 8), (size, 8), (size + 1, 16), (1e9, 24)):
        features = extract_features(build_probe(), toy_batches(), limit)
        assert len(features.tokens) == len(features.labels) == len(features.samples) == videos


def test_features_in_parts_are_evaluated_like_all_at_once():
    model, batches = build_probe(), toy_batches(clips=2)
    whole = evaluate_probes(model, extract_features(model, batches))
    parts = evaluate_parts(model, (extract_features(model, [batch]) for batch in batches))
    assert parts == whole
    assert parts['num_samples'] == 24


def test_probes_train_on_one_view():
    with pytest.raises(ValueError, match='one view per video, found 2'):
        run_probe(build_probe(), toy_batches(clips=2), toy_batches())


@pytest.mark.parametrize('settings', [dict(epochs=0), dict(batch_size=0)])
def test_empty_schedules_are_refused(settings):
    with pytest.raises(ValueError, match='must be at least 1'):
        ProbeSchedule(**settings)
