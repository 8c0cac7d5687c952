"""A dry run does everything once, says what it did, and leaves nothing."""

import pytest
from mmengine.hooks import Hook
from toy_training import STAGES, config

from nextvid_mm.engine.dry_run import dry_run, shortened
from nextvid_mm.registry import HOOKS


@pytest.fixture
def toy(tmp_path):
    cfg = config(tmp_path / 'run', [stage | dict(micro_batch_size=2) for stage in STAGES])
    cfg.experiment_name = 'dry'
    return cfg


def test_every_stage_takes_one_step_and_nothing_is_left(toy, tmp_path):
    lines = dry_run(toy).splitlines()
    assert [line.partition(':')[0] for line in lines[:4]] == [stage['name'] for stage in STAGES]
    assert lines[0].startswith('warm-up: 2 x (2, 6), ')
    assert lines[3].startswith('cool-down: 2 x (4, 6), ')
    assert lines[-1] == 'dry run: all is well'
    assert list(tmp_path.iterdir()) == []
    assert toy.train_cfg.stages[0].steps == STAGES[0]['steps']


def test_a_job_of_several_tasks_may_start_one_process(toy, monkeypatch):
    """An interactive job of Slurm says how many tasks it may have, not how many it has."""
    monkeypatch.setenv('SLURM_NTASKS', '3')
    assert [stage.batch_size for stage in shortened(toy).train_cfg.stages] == [2] * 4
    toy.launcher = 'slurm'
    with pytest.raises(ValueError, match='split evenly over 3 processes'):
        shortened(toy)


def test_the_weights_that_a_resumable_run_starts_from_are_looked_at(toy):
    assert shortened(toy).load_from is None
    toy.default_hooks.checkpoint.start_from = 'start.pth'
    assert shortened(toy).load_from == 'start.pth'


def test_what_would_fail_at_the_first_save_fails_now(toy):
    toy.default_hooks.checkpoint.filename_tmpl = 'absent/{}/{}.pth'
    with pytest.raises(IndexError):
        dry_run(toy)


@HOOKS.register_module(force=True)
class SaveObject(Hook):
    """Puts something into checkpoints that is no data."""

    def before_save_checkpoint(self, runner, checkpoint):
        checkpoint['meta']['hook'] = object()


@pytest.mark.parametrize('asynchronous', [False, True])
def test_what_could_not_be_resumed_from_fails_now(toy, asynchronous):
    toy.default_hooks.checkpoint.update(asynchronous=asynchronous, save_last=True)
    assert dry_run(toy).endswith('all is well')
    toy.experiment_name = f'dry with an object {asynchronous}'
    toy.custom_hooks.append(dict(type='SaveObject'))
    with pytest.raises(ValueError, match='object'):
        dry_run(toy)


def test_loops_of_epochs_get_one_batch(toy):
    toy.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=5)
    toy.val_dataloader = dict(batch_size=2)
    short = shortened(toy)
    assert short.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1)
    assert short.train_dataloader.num_batch_per_epoch == 1
    assert short.val_dataloader.num_batch_per_epoch == 1
