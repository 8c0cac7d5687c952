"""The best checkpoint: one at a time, and never none because of a full disk."""

import errno
import os
import shutil

import pytest
from toy_training import make_runner

SAVES = {
    'default_hooks.checkpoint.interval': 5,
    'default_hooks.checkpoint.save_last': True,
    'default_hooks.checkpoint.rule': 'greater',
    'train_cfg.val_interval': 5,
}


class Validation:
    """Says the accuracies of a list; while a number is negative, the disk is full."""

    def __init__(self, accuracies, monkeypatch):
        self.accuracies, self.full = list(accuracies), False
        self.sync = os.fsync
        monkeypatch.setattr(os, 'fsync', self._fsync)

    def _fsync(self, descriptor):
        if self.full:
            raise OSError(errno.ENOSPC, 'No space left on device')
        self.sync(descriptor)

    def run(self):
        accuracy = self.accuracies.pop(0)
        self.full = accuracy < 0
        hook = next(hook for hook in self.runner.hooks if hasattr(hook, 'stopped_by'))
        hook.after_val_epoch(self.runner, dict(a=abs(accuracy), b=-abs(accuracy)))
        self.full = False


def train(path, monkeypatch, accuracies, best='a', **changes):
    runner = make_runner(path, **SAVES, **{'default_hooks.checkpoint.save_best': best}, **changes)
    loop = Validation(accuracies, monkeypatch)
    loop.runner = runner
    monkeypatch.setattr(type(runner), 'val_loop', property(lambda self: loop))
    runner.train()
    return runner


def kept(path):
    return sorted(file.name for file in path.glob('best*'))


@pytest.mark.parametrize(
    ('best', 'left'), [('a', ['a_10']), (['a', 'b'], ['a_10', 'b_5'])]
)  # at steps 5, 10, 15 and 16
def test_a_better_one_takes_its_place(tmp_path, monkeypatch, best, left):
    train(tmp_path, monkeypatch, [1, 3, 2, 2], best)
    assert kept(tmp_path) == [f'best_{name.replace("_", "_iter_")}.pth' for name in left]


@pytest.mark.parametrize('best', ['a', ['a', 'b']])
def test_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch, best):
    """The next one that is better than that is kept, even if it is worse than what was lost."""
    runner = train(tmp_path, monkeypatch, [1, -9, 0.5, 0.5], best)
    assert runner.iter == 16
    assert kept(tmp_path)[0] == 'best_a_iter_5.pth'
    assert 'cannot write the best checkpoint' in next(tmp_path.rglob('*.log')).read_text()
    shutil.rmtree(tmp_path)
    train(tmp_path, monkeypatch, [1, -9, 2, 0.5], best)
    assert kept(tmp_path)[0] == 'best_a_iter_15.pth'


def test_a_run_that_goes_on_elsewhere_leaves_the_first_ones_alone(tmp_path, monkeypatch):
    train(tmp_path / 'a', monkeypatch, [1, 2, 3, 3])
    start = dict(resume=True, load_from=str(tmp_path / 'a/iter_15.pth'))
    train(tmp_path / 'b', monkeypatch, [4], **start)
    assert kept(tmp_path / 'a') == ['best_a_iter_15.pth']
    assert kept(tmp_path / 'b') == ['best_a_iter_16.pth']
    train(tmp_path / 'b', monkeypatch, [], resume=True)
    assert kept(tmp_path / 'b') == ['best_a_iter_16.pth']
