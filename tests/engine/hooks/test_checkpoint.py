"""SafeCheckpointHook: keeping, choosing, refusing, surviving full disks and signals."""

import errno
import os
import signal

import pytest
import torch
from mmengine.hooks import Hook
from toy_training import STAGES, make_runner, read_records, train

from nextvid_mm.run_folder import newest_checkpoint

EVERY_3 = {'default_hooks.checkpoint.interval': 3, 'default_hooks.checkpoint.save_last': True}


def files(path):
    return sorted(p.name for p in path.glob('*.pth*'))


class Signal(Hook):
    def __init__(self, step, name):
        self.step, self.name = step, name

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.step:
            os.kill(os.getpid(), getattr(signal, self.name))


@pytest.mark.parametrize(
    ('keep', 'left'),
    [(1, ['iter_16.pth']), (2, ['iter_15.pth', 'iter_16.pth']), (-1, 6)],
)
def test_max_keep_ckpts(tmp_path, keep, left):
    train(tmp_path, **EVERY_3, **{'default_hooks.checkpoint.max_keep_ckpts': keep})
    found = files(tmp_path)
    assert found == left if isinstance(left, list) else len(found) == left
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_16.pth')


def test_the_content_is_loadable_without_running_code(tmp_path):
    train(tmp_path, **EVERY_3)
    checkpoint = torch.load(tmp_path / 'iter_16.pth', weights_only=True)
    assert checkpoint['meta']['iter'] == 16
    assert [stage['name'] for stage in checkpoint['meta']['stages']] == [s['name'] for s in STAGES]
    assert checkpoint['meta']['data'] == dict(names=['toy'], weights=[1.0], lengths=[97])


@pytest.fixture(autouse=True)
def ctrl_c():
    """Tests that run behind a shell, or nohup, find them ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGINT'])
def test_a_signal_saves_and_ends_the_run(tmp_path, name):
    before = signal.getsignal(signal.SIGTERM)
    runner = train(tmp_path / 'a', Signal(4, name), **EVERY_3)
    assert runner.iter == 5
    assert [hook.stopped_by for hook in runner.hooks if hasattr(hook, 'stopped_by')] == [name]
    assert files(tmp_path / 'a') == ['iter_3.pth', 'iter_5.pth']
    assert signal.getsignal(signal.SIGTERM) is before
    train(tmp_path / 'a', resume=True, **EVERY_3)
    whole = train(tmp_path / 'b')
    resumed = torch.load(tmp_path / 'a/iter_16.pth', weights_only=True)['state_dict']
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed[name], value), name
    assert read_records(tmp_path / 'a/records.jsonl') == read_records(tmp_path / 'b/records.jsonl')


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Signal(4, 'SIGINT'), Signal(4, 'SIGINT'), **EVERY_3)
    assert files(tmp_path) == ['iter_3.pth']


def test_a_run_that_fails_at_its_start_gives_the_signals_back(tmp_path):
    class Fails(Hook):
        priority = 'LOWEST'

        def before_train(self, runner):
            assert signal.getsignal(signal.SIGTERM) is not before
            raise RuntimeError('at the start')

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError, match='at the start'):
        train(tmp_path, Fails())
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_ignored_signal_does_nothing(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert train(tmp_path, Signal(4, 'SIGHUP')).iter == 16
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_save_is_never_longer_ago_than_the_limit(tmp_path):
    class Clock(Hook):
        """Ten minutes a step."""

        priority = 'VERY_HIGH'

        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            hook = next(hook for hook in runner.hooks if hasattr(hook, 'max_minutes'))
            hook._saved_at -= 600

    settings = {**EVERY_3, 'default_hooks.checkpoint.max_keep_ckpts': -1}
    settings |= {
        'default_hooks.checkpoint.interval': 10,
        'default_hooks.checkpoint.max_minutes': 35,
    }
    train(tmp_path, Clock(), **settings)
    assert files(tmp_path) == [f'iter_{step}.pth' for step in (10, 14, 16, 4, 8)]
    with pytest.raises(ValueError, match='max_minutes=0 must be None or above 0'):
        train(tmp_path, **{'default_hooks.checkpoint.max_minutes': 0})


def test_a_finished_run_says_so_and_its_last_stage_can_be_made_longer(tmp_path):
    train(tmp_path, **EVERY_3)
    train(tmp_path, resume=True, **EVERY_3, log_level='INFO')
    text = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert 'is the end of this run: all 16 steps are done. To train on, raise steps' in text
    longer = [*STAGES[:3], STAGES[3] | dict(steps=6)]
    assert train(tmp_path, stages=longer, resume=True, **EVERY_3).iter == 18
    assert len(read_records(tmp_path / 'records.jsonl')) == 18
    shorter = [*STAGES[:3], STAGES[3] | dict(steps=5)]
    with pytest.raises(ValueError, match='is at step 18, but the stage table ends at 17'):
        train(tmp_path, stages=shorter, resume=True, **EVERY_3)


@pytest.fixture
def full_disk(monkeypatch):
    """Writing fails while ``state['full']`` is set."""
    state = dict(full=False)
    sync = os.fsync

    def fsync(descriptor):
        if state['full']:
            raise OSError(errno.ENOSPC, 'No space left on device')
        sync(descriptor)

    monkeypatch.setattr(os, 'fsync', fsync)
    return state


def test_a_full_disk_keeps_the_previous_checkpoint_and_training_goes_on(tmp_path, full_disk):
    class Fill(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            full_disk['full'] = 4 <= runner.iter < 11

    runner = train(tmp_path, Fill(), **EVERY_3, **{'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert runner.iter == 16
    text = next(tmp_path.rglob('*.log')).read_text()
    assert text.count('cannot write') == 2  # at 6 and 9
    assert f'Newest checkpoint before it: {tmp_path}/iter_3.pth' in text
    assert files(tmp_path) == ['iter_16.pth']


def test_a_full_disk_at_the_last_chance_is_an_error(tmp_path, full_disk):
    class Fill(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            full_disk['full'] = runner.iter >= 13

    with pytest.raises(OSError, match=r'cannot write .*iter_16\.pth.*No space'):
        train(tmp_path, Fill(), **EVERY_3)
    assert files(tmp_path) == ['iter_12.pth', 'iter_9.pth']


def test_a_damaged_last_checkpoint_is_passed_over(tmp_path):
    train(tmp_path, **EVERY_3)
    last = tmp_path / 'iter_16.pth'
    last.write_bytes(last.read_bytes()[:-100])
    (tmp_path / 'iter_99.pth.0a1b2c3d.tmp').write_bytes(b'half')
    runner = train(tmp_path, resume=True, **EVERY_3)
    assert runner._load_from == str(tmp_path / 'iter_15.pth')
    assert len(read_records(tmp_path / 'records.jsonl')) == 16
    assert files(tmp_path) == ['iter_15.pth', 'iter_16.pth']


def test_resuming_from_nothing_starts_afresh(tmp_path):
    assert train(tmp_path, resume=True).iter == 16


def test_a_run_that_is_to_resume_starts_from_other_weights_only_at_its_beginning(tmp_path):
    """``start_from`` is the ``load_from`` of a job script that always passes ``--resume``."""
    start = saved_weights(tmp_path, 'backbone')
    settings = {**EVERY_3, 'default_hooks.checkpoint.start_from': start}
    first = []

    class Look(Hook):
        def before_train(self, runner):
            name, value = next(iter(runner.model.state_dict().items()))
            first.append((runner.iter, name, bool((value == 0.25).all())))

    train(tmp_path / 'a', Look(), Signal(4, 'SIGTERM'), resume=True, **settings)
    train(tmp_path / 'a', Look(), resume=True, **settings)
    assert first == [(0, 'backbone.0.weight', True), (5, 'backbone.0.weight', False)]


def test_until_its_first_save_a_resumed_run_goes_on_from_what_it_was_given(tmp_path):
    train(tmp_path, **EVERY_3)

    class Fails(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(tmp_path, Fails(), resume=True, load_from=str(tmp_path / 'iter_15.pth'))
    assert newest_checkpoint(str(tmp_path)) == str(tmp_path / 'iter_15.pth')
    assert train(tmp_path, resume=True)._load_from == str(tmp_path / 'iter_15.pth')


def test_a_damaged_file_asked_for_by_name_is_refused(tmp_path):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'PK' + 99 * b'0')
    with pytest.raises(ValueError, match=r'cannot resume from .*a\.pth.*truncated'):
        train(tmp_path, resume=True, load_from=str(path))


def test_another_model_is_refused(tmp_path):
    train(tmp_path, **EVERY_3)
    runner = make_runner(tmp_path, resume=True, **EVERY_3)
    runner.model.neck = torch.nn.Linear(8, 9)
    message = r'(?s)iter_16\.pth, a checkpoint of another model: .*neck\.weight: \(8, 8\) in the f'
    with pytest.raises(ValueError, match=message):
        runner.train()


def test_python_in_a_checkpoint_is_not_run(tmp_path, capfd):
    """MMEngine takes ``meta['config']``, which it does not write, as a config and runs it."""
    train(tmp_path, **EVERY_3)
    path = tmp_path / 'iter_15.pth'
    checkpoint = torch.load(path, weights_only=True)
    checkpoint['meta']['config'] = "import os\nos.system('echo code of the file was run')"
    torch.save(checkpoint, path)
    assert train(tmp_path, resume=True, load_from=str(path), **EVERY_3).iter == 16
    assert 'was run' not in capfd.readouterr().out


def test_another_past_is_refused_and_another_future_followed(tmp_path):
    train(tmp_path, Signal(5, 'SIGTERM'), **EVERY_3)
    past = [STAGES[0] | dict(lr=(1e-3, 2e-3)), *STAGES[1:]]
    with pytest.raises(ValueError, match=r'stage 1 \(warm-up\): lr='):
        train(tmp_path, stages=past, resume=True, **EVERY_3)
    fifth = dict(name='extra', steps=2, lr=1e-6, tau_samples=1, num_frames=2, batch_size=4)
    runner = train(tmp_path, stages=[*STAGES, fifth], resume=True, **EVERY_3)
    records = read_records(tmp_path / 'records.jsonl')
    assert runner.iter == 18
    assert records[17]['lr'] == [1e-6] * 4
    assert "changed from step 7 on: stage 5: absent in the checkpoint, 'extra'" in ''.join(
        path.read_text() for path in tmp_path.rglob('*.log')
    )


def test_changed_data_is_reported(tmp_path):
    train(tmp_path, Signal(5, 'SIGTERM'))
    train(tmp_path, resume=True, **{'train_dataloader.dataset.size': 50})
    text = ''.join(path.read_text() for path in tmp_path.rglob('*.log'))
    assert 'lengths: [97] in the checkpoint, [50] in the config' in text


def test_load_from_without_resume_may_have_another_stage_table(tmp_path):
    train(tmp_path / 'a', **EVERY_3)
    other = [stage | dict(steps=1) for stage in STAGES[:1]]
    path = str(tmp_path / 'a/iter_16.pth')
    assert train(tmp_path / 'b', stages=other, load_from=path).iter == 1


def saved_weights(path, *prefixes):
    """A file with the weights of a toy run whose names begin with one of the prefixes."""
    state = make_runner(path).model.state_dict()
    kept = {k: torch.full_like(v, 0.25) for k, v in state.items() if k.startswith(prefixes)}
    torch.save(dict(state_dict=kept), path / 'start.pth')
    return str(path / 'start.pth')


def test_load_from_refuses_half_a_model(tmp_path):
    path = saved_weights(tmp_path, 'backbone', 'neck', 'reference')
    message = r'load_from=.*start\.pth.*\n  missing \(2\): head\.proj\.weight'
    with pytest.raises(ValueError, match=message):
        train(tmp_path / 'b', load_from=path)


def test_load_from_of_an_encoder_alone_fills_the_reference_too(tmp_path):
    started = {}

    class Look(Hook):
        def before_train(self, runner):
            started.update({k: v.clone() for k, v in runner.model.state_dict().items()})

    train(tmp_path / 'b', Look(), load_from=saved_weights(tmp_path, 'backbone'))
    loaded = {name for name, value in started.items() if (value == 0.25).all()}
    assert loaded == {n for n in started if n.startswith(('backbone.', 'reference.encoder.'))}


def test_a_checkpoint_that_other_machines_do_not_see(tmp_path, monkeypatch):
    train(tmp_path, **EVERY_3)
    target = 'nextvid_mm.engine.checkpoints.all_gather_object'
    monkeypatch.setattr(target, lambda seen: [seen, False])
    message = r'iter_16\.pth, chosen by process 0, .* process\(es\) \[1\]: work_dir must be shared'
    with pytest.raises(FileNotFoundError, match=message):
        train(tmp_path, resume=True, **EVERY_3)


def test_out_dir(tmp_path):
    out = {'default_hooks.checkpoint.out_dir': str(tmp_path / 'disk'), **EVERY_3}
    train(tmp_path / 'run', Signal(3, 'SIGTERM'), **out)
    assert files(tmp_path / 'disk/run') == ['iter_3.pth', 'iter_4.pth']
    runner = train(tmp_path / 'run', resume=True, **out)
    assert runner._load_from == str(tmp_path / 'disk/run/iter_4.pth')
    assert newest_checkpoint(str(tmp_path / 'run')) == str(tmp_path / 'disk/run/iter_16.pth')
