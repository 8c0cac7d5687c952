"""Probe training: the optimiser, exact resume at any step, several processes, cached features."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from finetune_run import finetune_run
from mmengine.hooks import Hook
from probe_run import NUM_TRAIN, NUM_VAL, make_videos, probe_run, save_encoder, train
from processes import run
from toy_training import ToyRunner

from nextvid_mm.engine.probe import training
from nextvid_mm.engine.probe.training import _check_cached
from nextvid_mm.engine.processes import WaitStopped
from nextvid_mm.progress import progress_bar
from nextvid_mm.stopping import Stopped, stop_on_signals

STEPS = 3 * NUM_TRAIN // 4
SAVING = {'default_hooks.checkpoint.interval': 1, 'default_hooks.checkpoint.max_keep_ckpts': -1}


class Stop(Hook):
    """Ends the process at step ``step`` without any goodbye, after the checkpoint."""

    priority = 'LOWEST'

    def __init__(self, step):
        self.step = step

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            os._exit(9)


class Losses(Hook):
    def __init__(self):
        self.losses, self.clips = {}, {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses[runner.iter] = outputs['loss'].item()
        self.clips[runner.iter] = [s.metainfo['sample_idx'] for s in data_batch['data_samples']]


CACHED = {'train_cfg.features': 'features'}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Videos and an encoder."""
    path = tmp_path_factory.mktemp('probe')
    make_videos(path / 'data')
    save_encoder(path / 'encoder.pth')
    return path


def _train(root, work_dir, *hooks, **changes):
    changes = {'model.encoder': str(root / 'encoder.pth')} | changes
    if 'train_cfg.features' in changes:
        changes['train_cfg.features'] = str(root / changes['train_cfg.features'])
    return train(root / 'data', work_dir, *hooks, **changes)


def _whole(root, name, **changes):
    """An uninterrupted run: its folder, encoder, losses and final weights."""
    record = Losses()
    _train(root, root / name, record, **SAVING, **changes)
    return root, root / name, record


@pytest.fixture(scope='module')
def whole(root):
    return _whole(root, 'whole')


@pytest.fixture(scope='module')
def cached(root):
    return _whole(root, 'cached', **CACHED)


def _killed(root, work_dir, step, changes):
    _train(root, work_dir, Stop(step), **SAVING, **changes)


@pytest.mark.parametrize(
    ('name', 'step'),
    [('whole', 2), ('whole', 3), ('cached', 2)],
    ids=['inside an epoch', 'at the end of an epoch', 'on cached features'],
)
def test_a_killed_run_continues_bit_for_bit(request, tmp_path, name, step):
    root, reference, record = request.getfixturevalue(name)
    changes = CACHED if name == 'cached' else {}
    assert run(_killed, root, tmp_path, step, changes) == [9]
    rest = Losses()
    _train(root, tmp_path, rest, **SAVING, **changes, resume=True)
    assert sorted(rest.losses) == list(range(step, STEPS))
    assert rest.losses == {key: record.losses[key] for key in rest.losses}
    assert rest.clips == {key: record.clips[key] for key in rest.clips}
    ours, theirs = (
        torch.load(path / f'iter_{STEPS}.pth', weights_only=True) for path in (tmp_path, reference)
    )
    for key, value in theirs['state_dict'].items():
        assert torch.equal(ours['state_dict'][key], value), key
    _assert_equal(ours['optimizer'], theirs['optimizer'])
    assert _results(tmp_path)['members'] == _results(reference)['members']
    mode = 'cached features' if name == 'cached' else 'online'
    assert _results(tmp_path)['mode'] == ours['meta']['mode'] == mode


class Rates(Hook):
    """Writes down the first member's learning rate of every step."""

    def __init__(self):
        self.rates = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])


@pytest.mark.parametrize('features', [{}, CACHED], ids=['online', 'cached'])
def test_rates_may_run_ahead_by_a_step(root, tmp_path, features):
    """As in V-JEPA 2's evaluation; the default starts at the peak."""
    plain, ahead = Rates(), Rates()
    _train(root, tmp_path / 'plain', plain, **features)
    _train(root, tmp_path / 'ahead', ahead, **features, **{'train_cfg.rates_ahead': 1})
    assert len(plain.rates) == STEPS
    assert plain.rates[1:] == pytest.approx(ahead.rates[:-1])
    assert plain.rates[0] > ahead.rates[0]
    assert ahead.rates[-1] == pytest.approx(0, abs=1e-12)


def test_features_of_another_kind_are_no_continuation(whole, tmp_path):
    _train(whole[0], tmp_path, **SAVING, **{'train_cfg.max_epochs': 1})
    with pytest.raises(ValueError, match="mode 'online' and cannot be resumed with 'cached feat"):
        _train(whole[0], tmp_path, **CACHED, resume=True)


def _results(path):
    return json.loads((path / 'probe_results.json').read_text())


def _assert_equal(ours, theirs):
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            _assert_equal(ours[key], value)
    elif isinstance(theirs, list):
        for a, b in zip(ours, theirs, strict=True):
            _assert_equal(a, b)
    else:
        assert torch.equal(ours, theirs) if isinstance(theirs, torch.Tensor) else ours == theirs


def _two(root, work_dir):
    _train(root, work_dir, launcher='pytorch')


def test_two_processes_train_what_one_trains(whole, tmp_path):
    """Seven validation samples on two processes: each counts once.

    Weights are equal up to the order of summation; twelve training samples leave no copies.
    """
    root, _, _ = whole
    assert run(_two, root, tmp_path, world_size=2) == [0, 0]
    ours, theirs = _results(tmp_path), _results(root / 'whole')
    assert ours['processes'] == 2
    assert ours['num_samples'] == NUM_VAL
    assert ours['members'] == theirs['members']
    assert ours['confusion_matrix'] == theirs['confusion_matrix']
    states = [
        torch.load(p / 'probe.pth', weights_only=True)['state_dict']
        for p in (tmp_path, root / 'whole')
    ]
    for name, value in states[1].items():
        if value.is_floating_point():
            torch.testing.assert_close(states[0][name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_batch_that_cannot_be_split(tmp_path, capfd, root):
    assert run(_two, root, tmp_path, world_size=3) == [1, 1, 1]
    message = (
        'batch_size=4 is the batch of all processes together and cannot be split evenly over 3'
    )
    assert message in capfd.readouterr().err


def test_a_cached_training_is_the_configs(cached, tmp_path):
    """Same number of steps, same order of samples; optimiser and schedule have their effect."""
    root, reference, record = cached
    assert sorted(record.losses) == list(range(STEPS))
    saved = torch.load(reference / 'probe.pth', weights_only=True)
    assert saved['meta'] == dict(mode='cached features', seed=0)
    assert saved['state_dict']['cls_head.standardizer.frozen']
    (tokens,) = (root / 'features').rglob('tokens.bin')
    # One central view of 4 x 4 x 4 tokens with 24 channels per video.
    assert tokens.stat().st_size == NUM_TRAIN * 64 * 24 * 4
    written = tokens.stat().st_mtime_ns
    for number, changes in enumerate(
        ({'optim_wrapper.optimizer.betas': (0.5, 0.6)}, {'param_scheduler.eta_min': 1e-3})
    ):
        other = Losses()
        _train(root, tmp_path / str(number), other, **CACHED, **changes)
        assert other.clips == record.clips
        assert other.losses[0] == record.losses[0]
        assert other.losses[STEPS - 1] != record.losses[STEPS - 1]
    assert tokens.stat().st_mtime_ns == written


def test_both_modes_see_the_same_samples_and_first_weights(whole, cached):
    assert whole[2].clips == cached[2].clips
    first = [_head(path / 'iter_1.pth') for _, path, _ in (whole, cached)]
    # AdamW's first step is of the size of the learning rate, 3e-3: the weights were equal before.
    for name, value in first[0].items():
        if name.startswith('probes.'):
            torch.testing.assert_close(first[1][name], value, rtol=0, atol=1.3e-2, msg=name)


def _head(path):
    state = torch.load(path, weights_only=True)['state_dict']
    return {k.removeprefix('cls_head.'): v for k, v in state.items() if k.startswith('cls_head')}


@pytest.mark.parametrize(
    ('changes', 'distributed', 'message'),
    [
        ({}, True, '--cache-features works in one process'),
        (
            {'model.data_preprocessor.blending': dict(type='x')},
            False,
            'preprocessor.blending would',
        ),
        ({'train_dataloader.num_batch_per_epoch': 2}, False, 'num_batch_per_epoch would have no'),
    ],
)
def test_what_cached_features_cannot_honour_is_refused(tmp_path, changes, distributed, message):
    cfg = probe_run(tmp_path, tmp_path, **changes)
    runner = SimpleNamespace(distributed=distributed, cfg=cfg)
    with pytest.raises(ValueError, match=message):
        _check_cached(runner, cfg.train_dataloader)


def test_wrong_labels_stop_it_before_encoding(root, tmp_path):
    changes = {'model.cls_head.num_classes': 2, 'train_cfg.features': 'never'}
    with pytest.raises(ValueError, match=r'train\.txt, line 3'):
        _train(root, tmp_path, **changes)
    assert not (root / 'never').exists()


@pytest.mark.parametrize(('level', 'shown'), [('WARNING', True), ('INFO', False)])
def test_probes_that_log_nothing_show_bars(level, shown, root, tmp_path, monkeypatch):
    bars = []

    def record(unit, quiet, transient):
        bars.append((quiet, progress_bar(unit, quiet=True)))
        return bars[-1][1]

    monkeypatch.setattr(training, 'progress_bar', record)
    config = probe_run(root / 'data', tmp_path)
    config.log_level = level
    config.train_cfg.max_epochs = 2
    training.fit_probe(config, save_encoder(tmp_path / 'encoder.pth'), tmp_path / 'probe', 3)
    ((quiet, bar),) = bars
    assert quiet is not shown
    assert [task.description for task in bar.tasks[:2]] == ['training the probes', 'validation']
    assert all(task.completed == task.total > 0 for task in bar.tasks)


def test_a_signal_ends_probes_as_a_stop_not_as_missing_results(root, tmp_path, monkeypatch):
    def kill(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(training._Bars, 'after_train_iter', kill)
    config = probe_run(root / 'data', tmp_path)
    with pytest.raises(Stopped, match='SIGTERM'):
        training.fit_probe(config, save_encoder(tmp_path / 'encoder.pth'), tmp_path / 'probe', 3)


class StopInValidation(Hook):
    """What a loader that hangs does after a signal, when ``step`` steps are done."""

    def __init__(self, step):
        self.step = step

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.step:
            raise WaitStopped


class StopBefore(StopInValidation):
    """The same while training waits for a batch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            raise WaitStopped

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        pass


class Validations(Hook):
    """Keeps after how many steps there were validations."""

    def __init__(self):
        self.steps = []

    def after_val_epoch(self, runner, metrics=None):
        self.steps.append(runner.iter)


def _finetune(root, work_dir, *hooks, **changes):
    """Two epochs of fine-tuning with MMEngine's average of the weights."""
    changes = {'train_cfg.max_epochs': 2, 'train_cfg.val_interval': 1} | SAVING | changes
    cfg = finetune_run(root / 'data', work_dir, str(root / 'encoder.pth'), **changes)
    runner = ToyRunner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def finetuned(root):
    _finetune(root, root / 'finetuned')
    return root / 'finetuned'


def _saved(path):
    return torch.load(path, weights_only=True)


def test_a_stop_in_validation_saves_the_average_as_average(root, finetuned, tmp_path):
    _finetune(root, tmp_path, StopInValidation(3))
    assert not (tmp_path / 'iter_4.pth').exists()
    parts = ('state_dict', 'ema_state_dict', 'optimizer')
    for step, resume in ((3, False), (6, True)):
        if resume:
            _finetune(root, tmp_path, resume=True)
        ours, theirs = (_saved(path / f'iter_{step}.pth') for path in (tmp_path, finetuned))
        for part in parts:
            _assert_equal(ours[part], theirs[part])


@pytest.mark.parametrize(
    ('stop', 'before', 'after'),
    [
        (StopInValidation(3), [], [3, 6]),
        (StopInValidation(6), [3], [6]),
        (StopBefore(3), [3], [6]),  # it was done: not once more
    ],
    ids=['in the first validation', 'in the last', 'after one'],
)
def test_a_validation_that_a_stop_cut_short_comes_first(root, tmp_path, stop, before, after):
    seen = Validations()
    _finetune(root, tmp_path, stop, seen)
    assert seen.steps == before
    seen = Validations()
    assert _finetune(root, tmp_path, seen, resume=True).iter == 6
    assert seen.steps == after


def test_a_stop_in_the_last_validation_of_probes_still_gives_results(root, tmp_path):
    _train(root, tmp_path, StopInValidation(STEPS), **SAVING)
    assert not (tmp_path / 'probe_results.json').exists()
    rest = Losses()
    _train(root, tmp_path, rest, **SAVING, resume=True)
    assert rest.losses == {}
    assert _results(tmp_path)['num_samples'] == NUM_VAL


@pytest.mark.parametrize(
    ('stored', 'message'),
    [
        (
            True,
            r'has 2 steps, but .* after step 5 in epoch 2, was trained with 3: samples would be',
        ),
        (False, r'has 2 steps, but .* step 5 in epoch 2, was trained with another number: samples'),
    ],
    ids=['stored', 'older file'],
)
def test_another_batch_size_is_not_resumed(whole, tmp_path, stored, message):
    """Step 5 would lie behind the end of the second epoch of two steps."""
    root, reference, _ = whole
    checkpoint = _saved(reference / 'iter_5.pth')
    assert checkpoint['meta']['steps_per_epoch'] == 3
    if not stored:
        del checkpoint['meta']['steps_per_epoch']
    torch.save(checkpoint, tmp_path / 'start.pth')
    changes = dict(load_from=str(tmp_path / 'start.pth'), resume=True)
    with pytest.raises(ValueError, match=message):
        _train(root, tmp_path, **changes, **{'train_dataloader.batch_size': 6})


def test_a_stop_inside_an_epoch_where_saves_count_epochs(root, finetuned, tmp_path):
    saving = {'default_hooks.checkpoint.by_epoch': True}
    _finetune(root, tmp_path, StopBefore(4), **saving)
    (file,) = tmp_path.glob('*4.pth')
    assert {key: _saved(file)['meta'][key] for key in ('epoch', 'iter')} == dict(epoch=1, iter=4)
    rest = Losses()
    _finetune(root, tmp_path, rest, resume=True, **saving)
    assert sorted(rest.losses) == [4, 5]
    ours, theirs = _saved(tmp_path / 'epoch_2.pth'), _saved(finetuned / 'iter_6.pth')
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        _assert_equal(ours[part], theirs[part])


def test_a_signal_while_features_are_encoded_does_not_wait_for_the_last(
    root, tmp_path, monkeypatch
):
    def kill(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError('encoding went on')

    monkeypatch.setattr(training.FeatureCache, '_encode', kill)
    with stop_on_signals():
        before = signal.getsignal(signal.SIGTERM)
        with pytest.raises(Stopped, match='SIGTERM'):
            _train(root, tmp_path, **{'train_cfg.features': 'stopped'})
        assert signal.getsignal(signal.SIGTERM) is before


def test_signals_are_noted_again_after_the_encoding(root, tmp_path):
    class Kill(Hook):
        def before_train_epoch(self, runner):
            os.kill(os.getpid(), signal.SIGTERM)

    runner = _train(root, tmp_path, Kill(), **CACHED)
    assert runner.iter == 1
    assert (tmp_path / 'iter_1.pth').exists()


class Fails(Hook):
    def __init__(self):
        self.told = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        raise RuntimeError('in a step')

    def after_failure(self, runner):
        self.told += 1


def test_a_failure_gives_the_signals_back_and_hooks_know_of_it(root, tmp_path):
    before, hook = signal.getsignal(signal.SIGTERM), Fails()
    with pytest.raises(RuntimeError, match='in a step'):
        _train(root, tmp_path, hook)
    assert signal.getsignal(signal.SIGTERM) is before
    assert hook.told == 1


def test_accumulated_gradients_are_refused(root, tmp_path):
    message = r'accumulative_counts=2 must be 1 with ExactEpochLoop'
    with pytest.raises(ValueError, match=message):
        _train(root, tmp_path, **{'optim_wrapper.accumulative_counts': 2})
