import json
import shutil

import pytest
import torch
from probing import build_probe, toy_batches

from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.probe.features import FeatureCache


class Loader(list):
    """Batches with the length of their dataset."""

    def __init__(self, batches):
        super().__init__(batches)
        self.dataset = range(sum(len(batch['inputs']) for batch in batches))


def test_features_come_back_as_they_were_encoded(tmp_path):
    model, loader = build_probe(), Loader(toy_batches(count=10, batch=4))
    cache = FeatureCache(tmp_path, model, dict(name='toy'))
    assert cache.load() is None
    filled, features = cache.fill(loader), cache.load()
    assert features.labels == [number % 3 for number in range(10)]
    expected = torch.cat([next(model.views_of_batch(batch)) for batch in loader])
    assert torch.equal(features.tokens, expected)
    assert torch.equal(filled.tokens, expected)


def test_a_batch_of_features_has_the_tokens_and_labels_of_its_samples(tmp_path):
    features = FeatureCache(tmp_path, build_probe(), {}).fill(Loader(toy_batches(count=8)))
    batch = features.__getitems__([ClipRequest(0, 0, place, 0, 0) for place in (5, 1)])
    assert torch.equal(batch['tokens'], features.tokens[[5, 1]])
    assert [int(sample.gt_label) for sample in batch['data_samples']] == [2, 1]
    assert [sample.sample_idx for sample in batch['data_samples']] == [5, 1]


def test_features_of_an_earlier_version_are_read(tmp_path):
    """They had a dimension of one view."""
    cache = FeatureCache(tmp_path, build_probe(), {})
    features = cache.fill(Loader(toy_batches(count=8)))
    note = json.loads((cache.folder / 'features.json').read_text())
    note['shape'].insert(1, 1)
    (cache.folder / 'features.json').write_text(json.dumps(note))
    assert torch.equal(cache.load().tokens, features.tokens)


def test_an_interrupted_pass_is_not_taken_for_features(tmp_path):
    def broken():
        yield toy_batches(count=4)[0]
        raise KeyboardInterrupt

    cache = FeatureCache(tmp_path, build_probe(), {})
    batches = broken()

    class Interrupted:
        dataset = range(8)

        def __iter__(self):
            return batches

    with pytest.raises(KeyboardInterrupt):
        cache.fill(Interrupted())
    assert cache.load() is None
    cache.fill(Loader(toy_batches(count=8)))
    assert len(cache.load().labels) == 8


def test_what_decides_the_features_decides_the_folder(tmp_path):
    torch.manual_seed(0)
    model = build_probe()
    base = FeatureCache(tmp_path, model, dict(a=1)).folder
    assert FeatureCache(tmp_path, model, dict(a=1)).folder == base
    assert FeatureCache(tmp_path, model, dict(a=2)).folder != base
    torch.manual_seed(0)
    assert FeatureCache(tmp_path, build_probe(single_frame=True), dict(a=1)).folder != base
    torch.manual_seed(1)
    assert FeatureCache(tmp_path, build_probe(), dict(a=1)).folder != base


def test_several_views_are_refused(tmp_path):
    with pytest.raises(ValueError, match='one view per sample, found 2'):
        FeatureCache(tmp_path, build_probe(), {}).fill(Loader(toy_batches(clips=2)))


def test_a_full_disk_is_noticed_before_encoding(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match=r'features of 24 samples need .* GB'):
        FeatureCache(tmp_path, build_probe(), {}).fill(Loader(toy_batches()))
