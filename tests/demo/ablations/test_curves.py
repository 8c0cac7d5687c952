"""The probes of a moment: both questions, each video decoded once whatever is probed."""

import json
from types import SimpleNamespace

import pytest
import torch

from nextvid_mm.demo.ablations import curves
from nextvid_mm.demo.ablations.results import HOW
from nextvid_mm.demo.ablations.tables import select_rows
from nextvid_mm.engine.hooks.moments import FOLDER

QUESTIONS = 2


class Probe:
    """An encoder whose tokens tell the label."""

    def eval(self):
        return self

    def views_of_batch(self, batch):
        labels = torch.tensor([float(sample.gt_label) for sample in batch['data_samples']])
        noise = torch.randn(len(labels), 16, 4, generator=torch.Generator().manual_seed(0))
        yield torch.cat([torch.eye(4)[labels.long()][:, None].expand(-1, 16, -1) + 0.1 * noise], -1)


@pytest.fixture
def prober(monkeypatch):
    seen = SimpleNamespace(fitted=[], decoded=[], backbones=[])

    def fit(config, encoder, folder, seed, features, **model):
        seen.backbones.append(config.model.backbone)
        seen.fitted.append((encoder, seed, model['encoder_weights'], str(folder)))
        return dict(top1=50.0)

    def load(config, split):
        seen.decoded.append(split)
        samples = [SimpleNamespace(gt_label=torch.tensor([n % 4])) for n in range(24)]
        return [dict(data_samples=samples[:12]), dict(data_samples=samples[12:])]

    monkeypatch.setattr(curves, 'fit_probe', fit)
    monkeypatch.setattr(curves, 'build_probe', lambda config, path, **model: Probe())
    monkeypatch.setattr(curves, 'cached_loader', load)
    made = curves.Prober({})
    assert len(made.configs) == QUESTIONS
    return made, seen


def test_a_curve_has_every_moment_and_decodes_once(prober, tmp_path):
    prober, seen = prober
    folder = tmp_path / FOLDER
    folder.mkdir(parents=True)
    for step in (20, 100, 9):
        costs = dict(step=step, clips=16 * step, cpu_seconds=2.0, seconds=3.0, losses={})
        (folder / f'step_{step}.json').write_text(json.dumps(costs))
    found = prober.curve(tmp_path, seed=3)
    assert [moment.step for moment in found] == [9, 20, 100]
    assert len(seen.fitted) == 3 * QUESTIONS
    assert seen.fitted[0][:3] == (folder / 'step_9.pth', 3, 'encoder')
    assert sorted(seen.decoded) == ['train', 'train', 'val', 'val']
    assert found[0].top1 == dict.fromkeys(prober.configs, 50.0)
    assert found[0].knn[HOW] == 100.0
    assert found[0].rank > 1


def test_an_untrained_encoder_has_the_demos_configuration(prober, tmp_path):
    prober, seen = prober
    costs = dict(step=0, clips=0, cpu_seconds=0.0, seconds=0.0, losses={})
    prober.moment(costs, None, tmp_path, seed=1)
    assert {entry[:3] for entry in seen.fitted} == {(None, 1, 'untrained')}


def test_an_untrained_encoder_is_that_of_its_row(prober, tmp_path):
    prober, seen = prober
    costs = dict(step=0, clips=0, cpu_seconds=0.0, seconds=0.0, losses={})
    (row,) = select_rows('grid', ['untrained-8x8'])
    prober.moment(costs, None, tmp_path, seed=3, options=dict(row.options))
    prober.moment(costs, None, tmp_path, seed=3)
    assert [backbone.patch_size for backbone in seen.backbones] == [8, 8, 16, 16]
