"""Protocols on cached features are those of the other tools."""

import pytest
import torch
from mmengine.registry import init_default_scope
from probe_run import NUM_TRAIN, NUM_VAL, probe_run

from nextvid_mm.compare.frozen import FrozenFeatures, mean_tokens
from nextvid_mm.compare.run import one_view
from nextvid_mm.engine.probe import build_probe, fit_probe
from nextvid_mm.engine.probe.features import FeatureSet
from nextvid_mm.evaluation import knn_accuracy
from nextvid_mm.registry import SCOPE

ALL = list(range(NUM_TRAIN))


@pytest.fixture
def config(videos, tmp_path):
    init_default_scope(SCOPE)
    return one_view(probe_run(videos / 'data', tmp_path))


@pytest.fixture
def features(config, videos):
    model = build_probe(config, str(videos / 'encoder.pth'))
    return FrozenFeatures(config, model, videos / 'features', 'cpu')


def test_every_sample_is_encoded_once(features, monkeypatch):
    assert [len(features.sets[split]) for split in ('train', 'val')] == [NUM_TRAIN, NUM_VAL]
    monkeypatch.setattr(features.model.backbone, 'encode_layers', None)  # from here on: not at all
    again = FrozenFeatures(features.config, features.model, features.cache, 'cpu')
    for protocol in (again.knn, again.linear, again.attentive):
        assert 0 <= protocol(ALL, 0)['top1'] <= 100
    assert again.seconds == {}


@pytest.mark.parametrize('ahead', [0, 1])
def test_attentive_probes_are_those_of_fit_probe(features, config, videos, tmp_path, ahead):
    config.train_cfg.rates_ahead = features.config.train_cfg.rates_ahead = ahead
    record = fit_probe(config, videos / 'encoder.pth', tmp_path / 'probe', 3, videos / 'features')
    expected = torch.load(tmp_path / 'probe/probe.pth', weights_only=False)['state_dict']
    head = features.fit(ALL, 3)
    for name, value in head.state_dict().items():
        if 'probes' in name:
            torch.testing.assert_close(value, expected[f'cls_head.{name}'], rtol=1e-4, atol=1e-5)
    found = features.attentive(ALL, 3)
    assert (found['top1'], found['best']) == (record['top1'], record['best'])


def test_a_member_alone_is_what_it_is_in_the_grid(features):
    grid = features.fit(ALL, 3)
    for place in (0, -1):
        alone = features.fit(ALL, 3, grid.members[place].name)
        assert alone.members == [grid.members[place]]
        expected = dict(grid.probes.named_parameters())
        for name, value in alone.probes.named_parameters():
            torch.testing.assert_close(value[0], expected[name][place], rtol=1e-4, atol=1e-5)


def test_neighbours_are_those_of_the_mean_token(features):
    rows = ALL[:5]
    train, val = features.sets['train'], features.sets['val']
    expected = knn_accuracy(
        train.tokens[rows].mean(1),
        torch.tensor(train.labels)[rows],
        val.tokens.mean(1),
        torch.tensor(val.labels),
    )
    assert features.knn(rows)['top1'] == expected


def test_only_the_chosen_labels_are_trained_on(features):
    rows = [0, 1, 2]
    features.sets['train'].tokens[3:].mul_(0).sub_(7)  # of a private mapping
    features.__dict__['_standardizer'] = None
    first = features.fit(rows, 0).state_dict()
    features.sets['train'].tokens[3:].add_(5)
    second = features.fit(rows, 0).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_could_not_be_decoded_is_not_scored(features):
    val = features.sets['val']
    failed = FeatureSet(val.tokens, val.labels, failed={2: 'broken'})
    features.sets['val'] = failed
    assert len(features.pooled(ALL)[3]) == NUM_VAL - 1
    details = features.score(features.fit(ALL, 0))
    assert details['num_samples'] == NUM_VAL - 1
    assert details['failed'] == [['', 'broken']]


def test_means_are_in_full_precision():
    tokens = torch.rand(70, 3, 2, dtype=torch.bfloat16)
    means = mean_tokens(FeatureSet(tokens, [0] * 70))
    assert means.dtype == torch.float32
    assert torch.equal(means, tokens.float().mean(1))
