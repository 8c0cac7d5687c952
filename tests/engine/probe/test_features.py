import json
import os
import shutil
import time

import pytest
import torch
from probing import build_probe, toy_batches
from tiny import PREPROCESSOR

from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.probe.features import FeatureCache


class Loader(list):
    """Batches with the length of their dataset."""

    def __init__(self, batches):
        super().__init__(batches)
        self.dataset = range(sum(len(batch['inputs']) for batch in batches))


@pytest.fixture
def data(tmp_path):
    """A dataset's config, of a list that exists."""
    (tmp_path / 'list.txt').write_text('a.mp4 0\nb.mp4 1\n')
    return dict(ann_file=str(tmp_path / 'list.txt'))


def test_features_come_back_as_they_were_encoded(tmp_path, data):
    model, loader = build_probe(), Loader(toy_batches(count=10, batch=4))
    cache = FeatureCache(tmp_path, model, data)
    assert cache.load() is None
    filled, features = cache.fill(loader), cache.load()
    assert features.labels == [number % 3 for number in range(10)]
    expected = torch.cat([next(model.views_of_batch(batch)) for batch in loader])
    assert torch.equal(features.tokens, expected)
    assert torch.equal(filled.tokens, expected)


def test_a_batch_of_features_has_the_tokens_and_labels_of_its_samples(tmp_path, data):
    features = FeatureCache(tmp_path, build_probe(), data).fill(Loader(toy_batches(count=8)))
    batch = features.__getitems__([ClipRequest(0, 0, place, 0, 0) for place in (5, 1)])
    assert torch.equal(batch['tokens'], features.tokens[[5, 1]])
    assert [int(sample.gt_label) for sample in batch['data_samples']] == [2, 1]
    assert [sample.sample_idx for sample in batch['data_samples']] == [5, 1]


def test_features_of_an_earlier_version_are_read(tmp_path, data):
    """They had a dimension of one view."""
    cache = FeatureCache(tmp_path, build_probe(), data)
    features = cache.fill(Loader(toy_batches(count=8)))
    note = json.loads((cache.folder / 'features.json').read_text())
    note['shape'].insert(1, 1)
    (cache.folder / 'features.json').write_text(json.dumps(note))
    assert torch.equal(cache.load().tokens, features.tokens)


def test_an_interrupted_pass_is_not_taken_for_features(tmp_path, data):
    def broken():
        yield toy_batches(count=4)[0]
        raise KeyboardInterrupt

    cache = FeatureCache(tmp_path, build_probe(), data)
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


def test_what_decides_the_features_decides_the_folder(tmp_path, data):
    def folder(seed=0, dataset=data, **changes):
        torch.manual_seed(seed)
        return FeatureCache(tmp_path, build_probe(**changes), dataset).folder

    base = folder()
    assert folder() == base
    assert folder(dataset=data | dict(a=2)) != base
    assert folder(single_frame=True) != base
    assert folder(seed=1) != base
    assert folder(data_preprocessor=PREPROCESSOR | dict(std=[64.0] * 3)) != base
    assert folder(data_preprocessor=PREPROCESSOR | dict(to_rgb=True)) != base


@pytest.mark.parametrize('text', ['a.mp4 0\nb.mp4 2\n', 'a.mp4 0\nc.mp4 1\n', 'b.mp4 1\na.mp4 0\n'])
def test_a_list_with_other_paths_or_labels_has_features_of_its_own(tmp_path, data, text):
    model = build_probe()
    FeatureCache(tmp_path, model, data).fill(Loader(toy_batches(count=8)))
    assert FeatureCache(tmp_path, model, data).load() is not None
    (tmp_path / 'list.txt').write_text(text)
    assert FeatureCache(tmp_path, model, data).load() is None


def test_a_folder_with_another_file_has_features_of_its_own(tmp_path):
    data = dict(type='VideoFolder', folder=str(tmp_path), pipeline=[])
    (tmp_path / 'a.mp4').touch()
    model = build_probe()
    base = FeatureCache(tmp_path, model, data).folder
    assert FeatureCache(tmp_path, model, data).folder == base
    (tmp_path / 'b.mp4').touch()
    assert FeatureCache(tmp_path, model, data).folder != base


def test_two_passes_at_once_do_not_write_into_one_file(tmp_path, data):
    """The note of the one that is through says nothing of the half of the other."""
    cache = FeatureCache(tmp_path, build_probe(), data)
    batches = toy_batches(count=8, batch=4)

    class Killed(Loader):
        def __iter__(self):
            yield batches[1]
            raise KeyboardInterrupt

    class Overtaken(Loader):
        def __iter__(self):
            yield batches[0]
            with pytest.raises(KeyboardInterrupt):
                cache.fill(Killed(batches))
            yield batches[1]

    filled = cache.fill(Overtaken(batches))
    expected = torch.cat([next(cache.model.views_of_batch(batch)) for batch in batches])
    assert torch.equal(filled.tokens, expected)
    assert torch.equal(cache.load().tokens, expected)
    assert sorted(path.name for path in cache.folder.iterdir()) == ['features.json', 'tokens.bin']


def test_what_a_killed_pass_has_left_is_deleted_a_day_later(tmp_path, data):
    cache = FeatureCache(tmp_path, build_probe(), data)
    cache.folder.mkdir()
    old, new = (cache.folder / f'tokens.bin.{name}.tmp' for name in ('00', '01'))
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90000,) * 2)
    cache.fill(Loader(toy_batches(count=8)))
    assert new.exists()
    assert not old.exists()


def test_several_views_are_refused(tmp_path, data):
    with pytest.raises(ValueError, match='one view per sample, found 2'):
        FeatureCache(tmp_path, build_probe(), data).fill(Loader(toy_batches(clips=2)))


def test_a_full_disk_is_noticed_before_encoding(tmp_path, data, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: usage)
    with pytest.raises(OSError, match=r'features of 24 samples need .* GB'):
        FeatureCache(tmp_path, build_probe(), data).fill(Loader(toy_batches()))
