"""Saves in the background: exact, one at a time, named only when complete, and nothing is lost."""

import os
import signal
import threading
import time

import pytest
import torch
from processes import run, spawn, wait
from tiny_training import STAGES as TINY
from tiny_training import settings
from torch.distributed.checkpoint import FileSystemWriter
from toy_training import KillHook, RecordHook, make_runner, read_records, train

from nextvid_mm.engine.checkpoints import damage
from nextvid_mm.models.checkpoints import read_file

EVERY_3 = {
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.checkpoint.save_last': True,
    'default_hooks.checkpoint.asynchronous': True,
}


def folders(path):
    return sorted(p.name for p in path.glob('iter_*'))


def assert_equal_checkpoints(one, other):
    one, other = read_file(one), read_file(other)
    for name, value in other['state_dict'].items():
        assert torch.equal(one['state_dict'][name], value), name
    assert one['optimizer']['param_groups'] == other['optimizer']['param_groups']
    assert one['optimizer']['state'].keys() == other['optimizer']['state'].keys()
    for index, entry in other['optimizer']['state'].items():
        for key, value in entry.items():
            assert torch.equal(one['optimizer']['state'][index][key], value), (index, key)
    histories = [
        {name: history.data[0].tolist() for name, history in c['message_hub']['log_scalars'].items()
         if name in ('train/loss', 'train/grad_norm')} for c in (one, other)
    ]  # fmt: skip
    assert histories[0] == histories[1]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A run with plain saves."""
    path = tmp_path_factory.mktemp('whole')
    train(path, **EVERY_3 | {'default_hooks.checkpoint.asynchronous': False})
    return path


def test_a_folder_holds_what_a_file_holds(tmp_path, whole):
    train(tmp_path, **EVERY_3)
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']
    assert (tmp_path / 'last_checkpoint').read_text() == str(tmp_path / 'iter_16.dcp')
    assert read_records(tmp_path / 'records.jsonl') == read_records(whole / 'records.jsonl')
    for step in (15, 16):
        assert_equal_checkpoints(tmp_path / f'iter_{step}.dcp', whole / f'iter_{step}.pth')


@pytest.mark.parametrize(('first', 'then'), [(True, True), (True, False), (False, True)])
def test_killed_and_resumed_bit_for_bit(tmp_path, whole, first, then):
    kinds = [{'default_hooks.checkpoint.asynchronous': kind} for kind in (first, then)]
    assert run(_train, tmp_path, EVERY_3 | kinds[0], KillHook(7)) == [9]
    runner = train(tmp_path, resume=True, **EVERY_3 | kinds[1])
    assert read_records(tmp_path / 'records.jsonl') == read_records(whole / 'records.jsonl')
    last = (tmp_path / 'last_checkpoint').read_text()
    assert last.endswith('iter_16.dcp' if then else 'iter_16.pth')
    assert_equal_checkpoints(last, whole / 'iter_16.pth')
    assert runner._load_from.endswith('.dcp' if first else '.pth')


def _train(path, changes, *hooks):
    train(path, *hooks, **changes)


@pytest.fixture
def slow(monkeypatch):
    """Writing ends when ``state['go']`` is set; of ``state['full']`` it fails."""
    state, write = dict(full=None, go=threading.Event()), FileSystemWriter.finish

    def finish(self, *args, **kwargs):
        assert state['go'].wait(60)
        if state['full'] and state['full'] in str(self.path):
            raise OSError(28, 'No space left on device')
        write(self, *args, **kwargs)

    monkeypatch.setattr(FileSystemWriter, 'finish', finish)
    return state


class Look(RecordHook):
    """What last_checkpoint says after each step."""

    def __init__(self, path, go):
        self.path, self.go, self.seen, self.named = path, go, {}, {}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        note = self.path / 'last_checkpoint'
        self.seen[runner.iter + 1] = note.read_text()[-11:] if note.exists() else ''
        self.named[runner.iter + 1] = folders(self.path)
        if runner.iter + 1 == 5:
            self.go.set()


def test_training_goes_on_and_the_pointer_moves_only_when_all_is_on_the_disk(tmp_path, slow):
    look = Look(tmp_path, slow['go'])
    train(tmp_path, look, **EVERY_3)
    assert look.seen[3] == look.seen[4] == look.seen[5] == ''  # still being written
    assert look.named[4] == ['iter_3.dcp.tmp']
    assert look.seen[6] == '/iter_3.dcp'  # awaited before the next is begun
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']


def test_a_full_disk_keeps_the_previous_one_and_training_goes_on(tmp_path, slow):
    slow['full'] = 'iter_6'
    slow['go'].set()
    assert train(tmp_path, **EVERY_3).iter == 16
    text = next(tmp_path.rglob('*.log')).read_text()
    assert text.count('cannot write') == 1
    assert 'iter_6.dcp: ' in text
    assert 'No space left on device' in text
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']


def test_a_full_disk_that_pytorch_reports_is_one_too(tmp_path, monkeypatch):
    save = torch.save

    def full(state, file, *args, **kwargs):
        if 'iter_6' in str(file):
            raise RuntimeError('PytorchStreamWriter failed writing file data/0: file write failed')
        save(state, file, *args, **kwargs)

    monkeypatch.setattr(torch, 'save', full)
    assert train(tmp_path, **EVERY_3).iter == 16
    text = next(tmp_path.rglob('*.log')).read_text()
    assert text.count('cannot write') == 1
    assert 'file write failed' in text
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']


def test_an_average_of_mmengine_is_refused_at_the_start(tmp_path):
    hooks = [dict(type='StageHook'), dict(type='EMAHook'), dict(type='mmengine.EMAHook')]
    with pytest.raises(ValueError, match=r"asynchronous=True beside type='mmengine\.EMAHook'"):
        train(tmp_path, custom_hooks=hooks, **EVERY_3)
    assert not (tmp_path / 'records.jsonl').exists()


def test_a_full_disk_at_the_last_chance_is_an_error(tmp_path, slow):
    slow['full'] = 'iter_16'
    slow['go'].set()
    with pytest.raises(OSError, match=r'cannot write .*iter_16\.dcp.*No space'):
        train(tmp_path, **EVERY_3 | {'default_hooks.checkpoint.interval': -1})


def test_damage_is_seen_and_the_one_before_is_taken(tmp_path):
    train(tmp_path, **EVERY_3)
    last = tmp_path / 'iter_16.dcp'
    assert damage(last) is None
    part = next(last.glob('*.distcp'))
    content = bytearray(part.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = bytes(1000)  # more than there is between two tensors
    part.write_bytes(content)
    assert damage(last) is not None
    (tmp_path / 'iter_99.dcp.tmp').mkdir()
    (tmp_path / 'iter_99.dcp.tmp' / 'half').write_bytes(b'')
    runner = train(tmp_path, resume=True, **EVERY_3)
    assert runner._load_from == str(tmp_path / 'iter_15.dcp')
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']
    assert damage(last) is None


def test_a_folder_that_was_being_replaced_comes_back(tmp_path):
    train(tmp_path, **EVERY_3)
    (tmp_path / 'iter_16.dcp').rename(tmp_path / 'iter_16.dcp.old.tmp')
    (tmp_path / 'iter_16.dcp.tmp').mkdir()
    runner = train(tmp_path, resume=True, **EVERY_3)
    assert runner._load_from == str(tmp_path / 'iter_16.dcp')
    assert folders(tmp_path) == ['iter_15.dcp', 'iter_16.dcp']


def _slow_train(path, resume):
    class Slow(RecordHook):
        def __init__(self):
            super().__init__(os.devnull)

        def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
            time.sleep(0.02)

    every = EVERY_3 | {'default_hooks.checkpoint.interval': 1}
    train(path, Slow(), resume=resume, **every)


def test_sigkill_during_saves_loses_nothing(tmp_path, whole):
    """Each step is being saved; ``benchmarks/async_kills.py`` does the same thirty times."""
    for kill in range(2):
        (process,) = spawn(_slow_train, tmp_path, kill > 0)
        while len(folders(tmp_path)) <= kill and process.is_alive():
            time.sleep(0.01)
        time.sleep(0.07)
        os.kill(process.pid, signal.SIGKILL)
        wait([process])
    assert run(_slow_train, tmp_path, True) == [0]
    assert read_records(tmp_path / 'records.jsonl') == read_records(whole / 'records.jsonl')
    assert_equal_checkpoints(tmp_path / 'iter_16.dcp', whole / 'iter_16.pth')


def _train_two(path, kind, *hooks, **changes):
    every = {'default_hooks.checkpoint.asynchronous': True}
    train(path, *hooks, stages=TINY, launcher='pytorch', **settings(**kind), **every, **changes)


@pytest.mark.parametrize('sharded', [False, True], ids=['ddp', 'fsdp'])
def test_two_processes_killed_and_resumed_bit_for_bit(tmp_path, sharded):
    kind = dict(sharded=sharded)
    assert run(_train_two, tmp_path / 'whole', kind, world_size=2) == [0, 0]
    folder = tmp_path / 'whole' / 'iter_6.dcp'
    assert len(list(folder.glob('*.distcp'))) == 2  # each its own part
    assert run(_train_two, tmp_path / 'killed', kind, KillHook(4), world_size=2)[0] == 9
    resumed = dict(resume=True)
    assert run(_resume_two, tmp_path / 'killed', kind, resumed, world_size=2) == [0, 0]
    records = [read_records(tmp_path / name / 'records.jsonl') for name in ('whole', 'killed')]
    assert records[0] == records[1]
    assert_equal_checkpoints(tmp_path / 'killed' / 'iter_6.dcp', folder)
    # One process goes on with what two have written.
    runner = make_runner(
        tmp_path / 'one', TINY, resume=True, load_from=str(tmp_path / 'whole/iter_4.dcp'),
        **settings(),
    )  # fmt: skip
    runner.train()
    for name, value in read_file(folder)['state_dict'].items():
        torch.testing.assert_close(
            runner.model.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name
        )


class Failing(RecordHook):
    """Fails on what is saved."""

    def __init__(self):
        super().__init__(os.devnull)

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['state_dict'].clear()


def _fail_in_two(path):
    with pytest.raises(RuntimeError, match=r"KeyError: 'state_dict'"):
        _train_two(path, {}, Failing())


def test_a_hook_that_fails_ends_both_processes_with_its_error(tmp_path):
    assert run(_fail_in_two, tmp_path, world_size=2) == [0, 0]


def _resume_two(path, kind, changes):
    _train_two(path, kind, **changes)
