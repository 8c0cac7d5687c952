"""HealthHook: throughput, data share, EMA distance, features, skipped steps."""

import math

import pytest
import torch
from mmengine.hooks import Hook
from noise_training import ONE_STAGE, train_tiny
from processes import run
from torch import nn
from toy_training import STAGES, read_records, train

from nextvid_mm.engine.hooks import HealthHook
from nextvid_mm.engine.hooks.health import relative_distance
from nextvid_mm.evaluation.representation import effective_rank, feature_std

FEATURES = ('feature_std', 'feature_rank', 'reference_std', 'reference_rank')


class Keep(Hook):
    """Keeps the first micro-batch of the last step."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.inputs = [clip.clone() for clip in data_batch['inputs']]


def test_features_are_those_of_the_first_clips_after_the_step(tmp_path):
    keep = Keep()
    runner = train_tiny(tmp_path, HealthHook(interval=2, clips=2), keep)
    model, hub = runner.model, runner.message_hub
    assert hub.get_scalar('train/feature_std').data[0].shape == (1,)
    clip = torch.cat(keep.inputs[:2]).float() / 127.5 - 1
    for name, encoder in (('feature', model.backbone), ('reference', model.reference.encoder)):
        with torch.no_grad():
            tokens = encoder.eval().encode(clip)
        found = [hub.get_scalar(f'train/{name}_{kind}').current() for kind in ('std', 'rank')]
        assert found == pytest.approx([feature_std(tokens), effective_rank(tokens)], rel=1e-4)
        assert found[0] > 0
        assert found[1] > 1
    assert hub.get_scalar('train/feature_std').current() != pytest.approx(
        hub.get_scalar('train/reference_std').current(), rel=1e-6
    )
    scalars = next(tmp_path.rglob('scalars.json')).read_text()
    assert all(f'"{key}"' in scalars for key in FEATURES)


def test_measuring_does_not_touch_the_training(tmp_path):
    class Modes(Hook):
        priority = 'LOWEST'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            assert runner.model.backbone.training
            assert not runner.model.reference.encoder.training

    train_tiny(tmp_path / 'with', HealthHook(interval=1), Modes())
    train_tiny(tmp_path / 'without', HealthHook(interval=1, clips=0))
    ours, theirs = (read_records(tmp_path / p / 'records.jsonl') for p in ('with', 'without'))
    assert len(ours) == 2
    assert ours == theirs


def test_features_behind_a_wrapper_in_the_precision_of_training(tmp_path):
    assert run(_train_two, tmp_path, world_size=2) == [0, 0]


def _train_two(path):
    keep, seen = Keep(), []
    changes = {'launcher': 'pytorch', 'optim_wrapper.dtype': 'bfloat16'}
    stages = [ONE_STAGE[0] | dict(micro_batch_size=1)]

    class Dtype(Hook):
        def before_train(self, runner):
            block = runner.model.module.backbone.blocks[0].attn.register_forward_hook
            block(lambda module, args, output: seen.append((module.training, output.dtype)))

    runner = train_tiny(path, HealthHook(interval=1), keep, Dtype(), stages=stages, **changes)
    measured = (False, torch.bfloat16) in seen
    assert measured == (runner.rank == 0)  # the other process has nothing to log
    if measured:
        assert runner.message_hub.get_scalar('train/feature_rank').current() > 1


def test_features_are_measured_by_plain_attention(tmp_path):
    """FlexAttention without its compiled kernel would hold all scores in memory."""
    seen = set()

    class Backends(Hook):
        def before_train(self, runner):
            runner.model.backbone.blocks[0].attn.register_forward_hook(
                lambda module, args, output: seen.add((module.training, module.backend))
            )

    train_tiny(tmp_path, HealthHook(interval=1), Backends())
    assert seen == {(True, 'auto'), (False, 'sdpa')}


def test_features_that_are_not_finite_do_not_end_the_run(tmp_path):
    class Break(Hook):
        priority = 'NORMAL'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.model.backbone.norm.bias.data.fill_(torch.nan)

    runner = train_tiny(tmp_path, HealthHook(interval=2), Break())
    assert math.isnan(runner.message_hub.get_scalar('train/feature_rank').current())


def test_relative_distance():
    a, b = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    a.weight.data = torch.tensor([[3.0, 0.0]])
    b.weight.data = torch.tensor([[0.0, 4.0]])
    assert relative_distance(a, b) == pytest.approx(5 / 4)
    assert relative_distance(b, b) == 0.0


def test_numbers_reach_the_log_line_of_their_step(tmp_path):
    class Slow(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            runner.train_loop.clock._seconds['loader'] += 1e6  # all of the step is waiting

    runner = train(tmp_path, HealthHook(interval=4, clips=0), Slow())
    hub = runner.message_hub
    assert hub.get_scalar('train/ema_distance').data[0].shape == (4,)
    assert hub.get_scalar('train/ema_distance').current() == pytest.approx(
        relative_distance(runner.model.reference.encoder, runner.model.backbone)
    )
    assert hub.get_scalar('train/data_share').current() == 1.0
    seconds = hub.get_scalar('train/time').data[0]
    speeds = hub.get_scalar('train/clips_per_s').data[0]
    assert speeds[0] * seconds[0] == pytest.approx(8)
    assert speeds[-1] * seconds[-1] == pytest.approx(4)
    scalars = next(tmp_path.rglob('scalars.json')).read_text()
    assert all(key in scalars for key in ('"clips_per_s"', '"data_share"', '"ema_distance"'))
    assert '"flow_lr"' in scalars
    assert '"grad_norm"' in scalars
    assert 'skipped' not in scalars


def test_skipped_steps(tmp_path):
    class Poison(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            data_batch['inputs'][0].fill_(torch.nan)

    runner = train(tmp_path, HealthHook(), Poison(), stages=[STAGES[0] | dict(steps=2)])
    assert runner.message_hub.get_scalar('train/skipped_steps').current() == 2


def test_a_model_without_reference_encoder(tmp_path):
    class Drop(Hook):
        priority = 'VERY_HIGH'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.model.reference = None

    runner = train(
        tmp_path, HealthHook(interval=1, clips=0), Drop(), stages=[STAGES[0] | dict(steps=1)]
    )
    assert 'train/ema_distance' not in runner.message_hub.log_scalars


def test_wrong_arguments():
    with pytest.raises(ValueError, match='interval=0'):
        HealthHook(interval=0)
    with pytest.raises(ValueError, match='clips=-1'):
        HealthHook(clips=-1)
