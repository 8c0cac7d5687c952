"""NumbersHook: the host waits for nothing between two lines of the log, and nothing is lost."""

import json
from collections import Counter

import pytest
import torch
from mmengine.hooks import Hook
from tiny_training import STAGES as TINY
from tiny_training import settings
from torch.utils._python_dispatch import TorchDispatchMode
from toy_training import STAGES, make_runner

from nextvid_mm.engine.hooks.numbers import NumbersHook, is_logged, log_interval

# What makes a host wait for its GPU.
WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', 'is_nonzero', 'unique')
EVERY_3 = {'default_hooks.logger.interval': 3, 'log_processor.window_size': 3}


class Waits(TorchDispatchMode):
    """Counts, by step, the operators that wait."""

    def __init__(self):
        super().__init__()
        self.step, self.found = 0, Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAITS:
            self.found[self.step, name] += 1
        return function(*args, **(kwargs or {}))


class Step(Hook):
    """Tells the mode which step it is; fetching a batch belongs to the loader."""

    priority = 'HIGHEST'

    def __init__(self, mode):
        self.mode = mode

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.mode.step = runner.iter + 1
        self.mode.__enter__()


class Leave(Step):
    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        pass

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.mode.__exit__(None, None, None)


def count(path, **changes):
    runner, mode = make_runner(path, **changes), Waits()
    for hook in (Step(mode), Leave(mode)):
        runner.register_hook(hook)
    runner.train()
    return runner, mode.found


def hooks(interval, clips=0):
    names = dict(
        HealthHook=dict(interval=interval, clips=clips), FaultHook={}, StageHook={}, EMAHook={}
    )
    return [dict(type=name, **options) for name, options in names.items()]


@pytest.mark.parametrize('dtype', [None, 'bfloat16', 'float16'])
def test_no_step_waits_but_those_that_are_logged(tmp_path, dtype):
    changes = settings(**EVERY_3, custom_hooks=hooks(3, clips=2))
    changes |= {'default_hooks.checkpoint.interval': -1, 'optim_wrapper.dtype': dtype}
    changes['train_dataloader.num_workers'] = 1
    changes['default_hooks.advice'] = dict(type='AdviceHook', interval=3)
    stages = [stage | dict(micro_batch_size=2) for stage in TINY]
    runner, found = count(tmp_path, stages=stages, **changes)
    assert runner.iter == 6
    assert {step for step, _ in found} == {3, 6}, found
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 6


def test_an_optimiser_that_is_not_fused_waits_once_a_step(tmp_path):
    _, found = count(tmp_path, **EVERY_3, **{'optim_wrapper.optimizer.fused': False})
    assert {step for step, _ in found} == set(range(1, 17))


def histories(runner):
    names = ('loss', 'loss_flow', 'grad_norm', 'lr')
    return {name: runner.message_hub.get_scalar(f'train/{name}').data[0].tolist() for name in names}


def test_numbers_and_weights_do_not_depend_on_the_interval(tmp_path):
    every = make_runner(tmp_path / 'a')
    every.train()
    third = make_runner(tmp_path / 'b', **EVERY_3)
    third.train()
    assert histories(every) == histories(third)
    for name, value in every.model.state_dict().items():
        assert torch.equal(value, third.model.state_dict()[name]), name


class Poison(Hook):
    def __init__(self, *steps):
        self.steps = steps

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 in self.steps:
            data_batch['inputs'][0].fill_(torch.nan)


def poisoned(path, steps, interval, **changes):
    runner = make_runner(
        path, custom_hooks=hooks(1), **{'default_hooks.logger.interval': interval}, **changes
    )
    runner.register_hook(Poison(*steps))
    try:
        runner.train()
    except FloatingPointError as error:
        runner.error = str(error)
    return runner


@pytest.mark.parametrize('interval', [1, 5])
def test_skipped_steps_are_skipped_counted_and_named_later(tmp_path, interval):
    runner = poisoned(tmp_path, (2, 3, 7), interval)
    assert runner.optim_wrapper.skipped_steps == 3
    assert runner.message_hub.get_scalar('train/skipped_steps').current() == 3
    assert len(runner.message_hub.get_scalar('train/grad_norm').data[0]) == 13
    lines = (tmp_path / 'nonfinite_steps.rank0.jsonl').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == [2, 3, 7]
    good = poisoned(tmp_path / 'other', (2, 3, 7), 1)
    for name, value in good.model.state_dict().items():
        assert torch.equal(value, runner.model.state_dict()[name]), name


def test_too_many_in_a_row_end_the_run_with_the_weights_they_left(tmp_path):
    changes = {'optim_wrapper.max_nonfinite': 3}
    at_once = poisoned(tmp_path / 'a', (4, 5, 6), 1, **changes)
    later = poisoned(tmp_path / 'b', (4, 5, 6), 5, **changes)
    assert (at_once.iter, later.iter) == (6, 10)  # good steps in between, which are not applied
    assert at_once.error == later.error
    assert '3 steps in a row' in later.error
    for name, value in at_once.model.state_dict().items():
        assert torch.equal(value, later.model.state_dict()[name]), name
    files = [tmp_path / name / 'nonfinite_steps.rank0.jsonl' for name in 'ab']
    records = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert [record['step'] for record in records[0]] == [4, 5, 6]
    assert [record['clips'] for record in records[0]] == [r['clips'] for r in records[1]]


def test_a_checkpoint_between_two_lines_has_all_numbers(tmp_path):
    changes = {'default_hooks.logger.interval': 5, 'default_hooks.checkpoint.interval': 4}
    make_runner(tmp_path, **changes).train()
    saved = torch.load(tmp_path / 'iter_16.pth', weights_only=True)
    assert len(saved['message_hub']['log_scalars']['train/loss'].data[0]) == 16
    assert len(list(tmp_path.glob('*.pth'))) == 2
    saved = torch.load(tmp_path / 'iter_12.pth', weights_only=True)
    assert len(saved['message_hub']['log_scalars']['train/loss'].data[0]) == 12


def test_histories_are_bounded_by_what_the_windows_need(tmp_path, monkeypatch):
    monkeypatch.setattr('nextvid_mm.engine.hooks.numbers._KEPT', 4)
    runner = make_runner(tmp_path, **EVERY_3)
    runner.train()
    assert {
        len(history.data[0])
        for name, history in runner.message_hub.log_scalars.items()
        if name.startswith('train/')
    } == {4}
    whole = [dict(data_src='loss', method_name='mean', window_size='global')]
    runner = make_runner(tmp_path, **EVERY_3, **{'log_processor.custom_cfg': whole})
    runner.train()
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 16


def test_which_steps_are_logged(tmp_path):
    runner = make_runner(tmp_path, STAGES, **{'default_hooks.logger.interval': 5})
    seen = []

    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if is_logged(runner, batch_idx, log_interval(runner)):
                seen.append(runner.iter + 1)

    runner.register_hook(Look())
    runner.train()
    assert seen == [5, 10, 15, 16]
    assert any(isinstance(hook, NumbersHook) for hook in runner.hooks)
