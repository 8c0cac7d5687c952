"""MomentHook: encoders from the middle of a run, and what they had cost."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
from noise_training import train_tiny
from processes import run
from tiny_training import STAGES as TWO_STAGES
from tiny_training import settings
from toy_training import train

from nextvid_mm.engine.hooks import MomentHook, moments
from nextvid_mm.models.checkpoints import open_encoder


def test_encoders_and_costs_are_kept(tmp_path):
    runner = train_tiny(tmp_path, MomentHook((0.5, 1.0)))
    folder = tmp_path / 'moments'
    records = [json.loads((folder / f'step_{step}.json').read_text()) for step in (1, 2)]
    assert [record['step'] for record in records] == [1, 2]
    assert [record['clips'] for record in records] == [6, 12]
    assert 0 < records[0]['cpu_seconds'] < records[1]['cpu_seconds']
    assert records[1]['losses']['loss'] > 0
    encoder, origin = open_encoder(folder / 'step_2.pth')
    assert (origin.step, origin.weights) == (2, 'encoder')
    for mine, kept in zip(runner.model.backbone.parameters(), encoder.parameters(), strict=True):
        assert torch.equal(mine, kept)
    first, _ = open_encoder(folder / 'step_1.pth')
    pairs = zip(first.parameters(), encoder.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


def test_a_resumed_run_goes_on_counting():
    hook, checkpoint = MomentHook(), dict(meta={})
    plain = SimpleNamespace(model=None)
    hook.before_train(plain)
    hook.before_save_checkpoint(None, checkpoint)
    checkpoint['meta']['spent'] = dict(cpu_seconds=100.0, seconds=200.0)
    again = MomentHook()
    again.after_load_checkpoint(SimpleNamespace(_resume=True), checkpoint)
    again.before_train(plain)
    assert 100 <= again.spent()['cpu_seconds'] < 101
    fresh = MomentHook()
    fresh.after_load_checkpoint(SimpleNamespace(_resume=False), checkpoint)
    fresh.before_train(plain)
    assert fresh.spent()['seconds'] < 1


def test_short_runs_have_fewer_moments():
    assert MomentHook().steps(1500) == [150, 300, 600, 1050, 1500]
    assert MomentHook().steps(2) == [1, 2]


def _train_two(path, sharded=False):
    made = MomentHook((1.0,))
    train(path, made, stages=TWO_STAGES, launcher='pytorch', **settings(sharded=sharded))


def _count_two(path):
    written = []
    moments.write_moment = lambda runner, *_: written.append(runner.rank)
    _train_two(path)
    (path / f'written_by_{os.environ["RANK"]}').write_text(str(written))


def test_process_0_alone_writes(tmp_path):
    assert run(_count_two, tmp_path, world_size=2) == [0, 0]
    assert [(tmp_path / f'written_by_{rank}').read_text() for rank in (0, 1)] == ['[0]', '[]']


def _refuse_two(path):
    with pytest.raises(ValueError, match=r"MomentHook.*runner_type='ShardedRunner'"):
        _train_two(path, sharded=True)


def test_a_sharded_model_is_refused_at_the_start(tmp_path):
    assert run(_refuse_two, tmp_path, world_size=2) == [0, 0]
    assert not (tmp_path / 'moments').exists()


@pytest.mark.parametrize('fractions', [(), (0.0,), (1.5,)])
def test_moments_outside_of_the_run_are_refused(fractions):
    with pytest.raises(ValueError, match='MomentHook.fractions='):
        MomentHook(fractions)
