"""StageTrainLoop on the true Runner, and the hooks a config may lose without noticing."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from toy_training import STAGES, make_runner, read_records, train

from nextvid_mm.config_files import check_config
from nextvid_mm.engine.processes import WaitStopped
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.registry import HOOKS


class Watch(Hook):
    """Keeps what hooks of the given names saw."""

    def __init__(self):
        self.calls = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.calls.append(('before', runner.iter, batch_idx))

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(('micro', runner.iter, len(data_batch['inputs'])))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.calls.append(('after', runner.iter, batch_idx))


def weights(runner):
    return {name: value.clone() for name, value in runner.model.state_dict().items()}


def test_every_step_trains_with_the_tables_values(tmp_path):
    runner = train(tmp_path)
    table = StageTable(STAGES)
    records = read_records(tmp_path / 'records.jsonl')
    assert list(records) == list(range(table.total_steps))
    for step, record in records.items():
        _, stage, _ = table.at(step)
        assert record['frames'] == [stage.num_frames] * stage.batch_size
        assert record['tau'] == stage.tau_samples
        base, flow = table.lr(step), table.lr(step, 'flow')
        assert record['lr'] == [base, base, flow, flow]
    assert runner.iter == runner.max_iters == table.total_steps
    assert runner.model.reference.updates == table.total_steps


def test_hooks_see_one_iteration_per_optimiser_step(tmp_path):
    watch = Watch()
    stages = [
        STAGES[0] | dict(steps=2, micro_batch_size=3),  # 8 clips: 4 passes of 2
        STAGES[3] | dict(steps=1),
    ]
    train(tmp_path, watch, stages=stages)
    micro = [('micro', 0, 2)] * 4
    assert watch.calls[:6] == [('before', 0, 0), *micro, ('after', 0, 0)]
    assert watch.calls[6] == ('before', 1, 1)
    assert watch.calls[12:] == [('before', 2, 2), ('micro', 2, 4), ('after', 2, 2)]


def test_accumulation_changes_nothing_but_rounding(tmp_path):
    """Without dropout and noise, 8 clips at once and 4 x 2 clips train the same."""
    quiet = {'model.dropout': 0.0, 'model.noise': 0.0}
    split = [stage | dict(micro_batch_size=2) for stage in STAGES]
    whole = train(tmp_path / 'whole', **quiet)
    parts = train(tmp_path / 'parts', stages=split, **quiet)
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(parts)[name], value, rtol=1e-4, atol=1e-6)
    one, other = (read_records(tmp_path / x / 'records.jsonl')[15] for x in ('whole', 'parts'))
    loss, same = (float.fromhex(record['outputs']['loss']) for record in (one, other))
    assert loss == pytest.approx(same, rel=1e-4)


def test_the_order_of_clips_can_have_a_seed_of_its_own(tmp_path):
    runs = {
        seed: train(tmp_path / str(seed), **{'train_dataloader.sampler': sampler})
        for seed, sampler in {None: {}, 5: dict(seed=5), 6: dict(seed=6)}.items()
    }
    samplers = {seed: run.train_loop.dataloader.batch_sampler.sampler for seed, run in runs.items()}
    assert [samplers[seed].seed for seed in (5, 6)] == [5, 6]
    assert samplers[None].seed == runs[None].seed
    one, other = (weights(runs[seed]) for seed in (5, 6))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_run_is_a_function_of_its_seed(tmp_path):
    first = weights(train(tmp_path / 'a'))
    torch.manual_seed(99)
    again = weights(train(tmp_path / 'b', **{'train_dataloader.num_workers': 2}))
    other = weights(train(tmp_path / 'c', **{'randomness.seed': 6}))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_noise_differs_between_steps_and_micro_batches(tmp_path):
    seen = []

    class Draw(Hook):
        def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(torch.rand(1).item())

    train(tmp_path, Draw(), stages=[STAGES[0] | dict(micro_batch_size=4)])
    assert len(set(seen)) == len(seen) == 8


def test_stopping_early(tmp_path):
    class Stop(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.train_loop.stop_training = runner.iter == 5

    runner = train(tmp_path, Stop())
    assert runner.iter == 6


def test_validation_interval(tmp_path, monkeypatch):
    class Validation:
        def __init__(self):
            self.steps = []

        def run(self):
            self.steps.append(runner.iter)
            runner.model.eval()

    loop = Validation()
    runner = make_runner(
        tmp_path, **{'train_cfg.val_interval': 5, 'train_cfg.val_begin': 6}
    )  # fmt: skip
    monkeypatch.setattr(type(runner), 'val_loop', property(lambda self: loop))
    runner.train()
    assert loop.steps == [10, 15, 16]
    assert runner.model.training


def test_auto_scale_lr_multiplies_every_stage(tmp_path):
    train(tmp_path, auto_scale_lr=dict(enable=True, base_batch_size=32))
    records = read_records(tmp_path / 'records.jsonl')
    table = StageTable(STAGES)
    for step, record in records.items():
        assert record['lr'][0] == 8 / 32 * table.lr(step)
        assert record['lr'][2] == 8 / 32 * table.lr(step, 'flow')


@pytest.mark.parametrize(('stopped', 'again'), [(10, [10, 15, 16]), (16, [16])])
def test_a_validation_that_a_stop_cut_short_comes_first(tmp_path, monkeypatch, stopped, again):
    class Validation:
        def __init__(self, runner, stopped):
            self.runner, self.stopped, self.steps = runner, stopped, []

        def run(self):
            if self.runner.iter == self.stopped:
                raise WaitStopped
            self.steps.append(self.runner.iter)
            self.runner.model.eval()

    def validations(stopped, **changes):
        runner = make_runner(tmp_path, **{'train_cfg.val_interval': 5}, **changes)
        loop = Validation(runner, stopped)
        monkeypatch.setattr(type(runner), 'val_loop', property(lambda self: loop))
        runner.train()
        assert runner.model.training
        return loop.steps

    assert validations(stopped) == [step for step in (5, 10, 15) if step < stopped]
    assert validations(None, resume=True) == again


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'train_dataloader.batch_size': 4}, r'train_dataloader\.batch_size'),
        ({'param_scheduler': [dict(type='LinearLR')]}, 'StageParamScheduler'),
        ({'param_scheduler.end': 100}, r"remove \['end'\] from param_scheduler"),
    ],
)
def test_second_sources_of_the_schedule_are_refused(tmp_path, change, message):
    if 'param_scheduler' in change:
        runner = make_runner(tmp_path)
        runner.param_schedulers = change['param_scheduler']
    else:
        runner = make_runner(tmp_path, **change)
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_other_optimiser_wrappers_are_refused(tmp_path):
    runner = make_runner(tmp_path, **{'optim_wrapper.type': 'OptimWrapper'})
    with pytest.raises(TypeError, match='AutocastOptimWrapper'):
        runner.train()


ROOT = Path(__file__).resolve().parents[2]
FIX = re.escape('custom_hooks = [*_base_.custom_hooks, dict(...)]')


@pytest.mark.parametrize(
    ('left', 'missing', 'consequence'),
    [
        (['EMAHook'], 'StageHook', 'tau_samples'),
        (['StageHook'], 'EMAHook', 'model.reference would stay'),
        ([], 'StageHook', 'tau_samples'),
    ],
)
def test_a_list_that_replaced_the_inherited_one(tmp_path, left, missing, consequence):
    hooks = [dict(type=name) for name in left]
    runner = make_runner(tmp_path, custom_hooks=hooks)
    message = rf'no {missing} among the hooks \(.*LoggerHook.*\): .*{consequence}.*{FIX}'
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_model_without_reference_needs_no_ema(tmp_path):
    runner = make_runner(tmp_path, custom_hooks=[dict(type='StageHook')])
    model = runner.model
    model.reference = None
    model.forward = lambda inputs, data_samples=None, mode='loss': dict(
        loss=model.head.proj(model.neck(model.backbone(inputs[0]))).sum()
    )
    runner.train()
    assert runner.iter == runner.max_iters


def test_a_hook_derived_from_ours_will_do(tmp_path):
    @HOOKS.register_module(force=True)
    class SlowEMA(HOOKS.get('EMAHook')):
        """Another hook that moves the reference."""

    hooks = [dict(type='StageHook'), dict(type='SlowEMA')]
    runner = make_runner(tmp_path, custom_hooks=hooks)
    runner.train()
    assert runner.iter == runner.max_iters


def test_the_way_the_error_and_the_page_recommend(tmp_path):
    """Old hooks first, then the new one; and the config check finds a reader for every key."""
    page = (ROOT / 'docs/evaluate.md').read_text(encoding='utf-8')
    (block,) = (b for b in re.findall(r'```python\n(.*?)```', page, re.S) if 'custom_hooks' in b)
    base = ROOT / 'configs/nextvid/vit-tiny_demo.py'
    path = tmp_path / 'config.py'
    path.write_text(block.replace("'./vit-tiny_demo.py'", repr(str(base))))
    cfg = Config.fromfile(path)
    check_config(cfg, str(path))
    inherited = Config.fromfile(base).custom_hooks
    assert cfg.custom_hooks[:-1] == inherited
    assert cfg.custom_hooks[-1].type == 'OnlineProbeHook'
    assert {'StageHook', 'EMAHook'} <= {hook.type for hook in cfg.custom_hooks}
