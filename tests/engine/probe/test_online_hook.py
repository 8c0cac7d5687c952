"""OnlineProbeHook: what it measures, where it is logged, and that training does not notice."""

import json
import os

import pytest
import torch
from mmengine.registry import DefaultScope
from noise_training import ONE_STAGE, train_tiny
from probe_run import NUM_TRAIN, NUM_VAL, make_videos, probe_run
from processes import run
from tiny_training import STAGES as TWO_STAGES
from tiny_training import settings
from toy_training import KillHook, read_records, train

from nextvid_mm.engine.probe import OnlineProbeHook, online_hook
from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.engine.probe.online_hook import load_clips
from nextvid_mm.evaluation.representation import knn_accuracy, linear_accuracy

STAGES = [ONE_STAGE[0] | dict(steps=4)]
TAGS = ('knn_encoder', 'knn_reference', 'linear_encoder', 'linear_reference')


@pytest.fixture(scope='module')
def sets(tmp_path_factory):
    """The two datasets of a probe config, nothing random in them."""
    root = make_videos(tmp_path_factory.mktemp('online') / 'data')
    cfg = probe_run(root, root)
    return {split: cached_dataset(cfg, split) for split in ('train', 'val')}


def hook(sets, **settings):
    return OnlineProbeHook(**dict(interval=2, config=sets, k=3, clips_per_pass=5) | settings)


def scalars(path):
    lines = [json.loads(line) for f in path.rglob('scalars.json') for line in f.open()]
    return {line['step']: line for line in lines if 'online_probe/seconds' in line}


def test_accuracies_are_those_of_the_frozen_encoders(sets, tmp_path):
    made = hook(sets)
    runner = train_tiny(tmp_path, made, stages=STAGES)
    logged = scalars(tmp_path)
    assert sorted(logged) == [0, 2, 4]
    assert len(made.labels['train']) == NUM_TRAIN
    assert len(made.labels['val']) == NUM_VAL
    for name, encoder in (
        ('encoder', runner.model.backbone), ('reference', runner.model.reference.encoder),
    ):  # fmt: skip
        rows = {}
        with torch.no_grad():
            for split, clips in made.clips.items():
                tokens = encoder.eval().encode(clips.float() / 127.5 - 1)
                rows[split] = (tokens.mean((1, 2)), made.labels[split])
        pair = (*rows['train'], *rows['val'])
        assert logged[4][f'online_probe/knn_{name}'] == pytest.approx(knn_accuracy(*pair, k=3))
        assert logged[4][f'online_probe/linear_{name}'] == pytest.approx(linear_accuracy(*pair))


def test_training_does_not_notice(sets, tmp_path):
    """Stochastic depth and noise draw the same numbers with and without the hook."""
    train_tiny(tmp_path / 'with', hook(sets, interval=1), stages=STAGES)
    train_tiny(tmp_path / 'without', stages=STAGES)
    ours, theirs = (read_records(tmp_path / p / 'records.jsonl') for p in ('with', 'without'))
    assert len(ours) == 4
    assert ours == theirs


def _killed(path, sets):
    saving = {'default_hooks.checkpoint.interval': 1}
    train_tiny(path, hook(sets), KillHook(2), stages=STAGES, **saving)
    os._exit(1)


def test_a_killed_run_resumes_bit_for_bit_with_it(sets, tmp_path):
    train_tiny(tmp_path / 'whole', hook(sets), stages=STAGES)
    assert run(_killed, tmp_path / 'cut', sets) == [9]
    saving = {'default_hooks.checkpoint.interval': 1}
    train_tiny(tmp_path / 'cut', hook(sets), stages=STAGES, resume=True, **saving)
    ours, theirs = (read_records(tmp_path / p / 'records.jsonl') for p in ('cut', 'whole'))
    assert ours == theirs
    cut, whole = scalars(tmp_path / 'cut'), scalars(tmp_path / 'whole')
    for tag in TAGS:
        assert cut[4][f'online_probe/{tag}'] == whole[4][f'online_probe/{tag}']


def _probe_two(path, sets):
    made, fitted = hook(sets), []
    online_hook.linear_accuracy = lambda *_: fitted.append(1) or 0.0
    train(path, made, stages=TWO_STAGES, launcher='pytorch', **settings())
    is_first = os.environ['RANK'] == '0'
    assert bool(made.clips) == bool(fitted) == is_first


def test_of_processes_with_the_whole_model_the_first_alone_measures(sets, tmp_path):
    assert run(_probe_two, tmp_path, sets, world_size=2) == [0, 0]
    assert sorted(scalars(tmp_path)) == [0, 2, 4, 6]


def test_clips_are_spread_over_the_list(sets):
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        clips, labels = load_clips(sets['train'], 4)
    assert clips.shape == (4, 3, 8, 16, 16)
    assert clips.dtype == torch.uint8
    # Places 0, 3, 7, 11 of 12 with label i % 3.
    assert labels.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize(
    ('settings', 'error', 'message'),
    [
        (dict(interval=0), ValueError, 'interval=0'),
        (dict(k=0), ValueError, 'k=0'),
    ],
)
def test_bad_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        OnlineProbeHook(**dict(interval=1, config='x.py') | settings)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config='absent\.py'"):
        train_tiny(tmp_path, OnlineProbeHook(interval=1, config='absent.py'), stages=STAGES)
    with pytest.raises(ValueError, match=r"keys \['train'\]; give train and val"):
        train_tiny(tmp_path, OnlineProbeHook(interval=1, config=dict(train={})), stages=STAGES)
