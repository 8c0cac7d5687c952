"""MMAction2's flags, and what they do to a config."""

import argparse
import os

import pytest
from mmengine.config import Config

from nextvid_mm.cli.train import add_flags, apply_flags, load_config


def parse(*arguments):
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return parser.parse_args(['configs/some/name.py', *arguments])


def applied(cfg, *arguments):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'))) | cfg)
    apply_flags(cfg, parse(*arguments))
    return cfg


def test_flags_are_mmaction2s():
    from pathlib import Path

    import mmaction

    text = (Path(mmaction.__file__).parent / '.mim/tools/train.py').read_text()
    parser = argparse.ArgumentParser()
    add_flags(parser)
    ours = {flag for action in parser._actions for flag in action.option_strings}
    import re

    theirs = set(re.findall(r"'(--[\w-]+)'", text))
    assert theirs <= ours
    assert len(theirs) >= 10


def test_no_flag_changes_little():
    cfg = applied({})
    assert cfg.work_dir == 'work_dirs/name'
    assert cfg.launcher == 'none'
    assert cfg.randomness == dict(seed=None)
    assert 'resume' not in cfg


def test_work_dir_command_line_config_name():
    assert applied(dict(work_dir='from_config')).work_dir == 'from_config'
    assert applied(dict(work_dir='from_config'), '--work-dir', 'x').work_dir == 'x'


def test_no_validate_and_launcher():
    cfg = applied(dict(val_cfg=1, val_dataloader=2, val_evaluator=3), '--no-validate')
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert applied({}, '--launcher', 'slurm').launcher == 'slurm'


def test_resume(tmp_path):
    assert applied({}, '--resume').resume is True
    path = tmp_path / 'a.pth'
    path.touch()
    assert applied({}, '--resume', str(path)).load_from == str(path)
    with pytest.raises(FileNotFoundError, match='nowhere'):
        applied({}, '--resume', 'nowhere.pth')


START = ('--resume', '--cfg-options', 'load_from=start.pth')
OURS = dict(default_hooks=dict(checkpoint=dict(type='SafeCheckpointHook')))


def test_weights_to_start_from_are_not_what_is_resumed(tmp_path):
    """MMEngine would resume from them, again and again; MMAction2 forgets them."""
    cfg = applied(OURS, '--work-dir', str(tmp_path), *START)
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.default_hooks.checkpoint.start_from == 'start.pth'
    cfg = applied({}, '--work-dir', str(tmp_path), *START)
    assert (cfg.resume, cfg.load_from) == (False, 'start.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    cfg = applied({}, '--work-dir', str(tmp_path), *START)
    assert (cfg.resume, cfg.load_from) == (True, None)


@pytest.mark.parametrize('flags', [[], ['--resume']])
def test_a_run_that_is_started_again_goes_on_from_its_last_save(tmp_path, monkeypatch, flags):
    work_dir, first = ['--work-dir', str(tmp_path)], tmp_path / 'iter_1.pth'
    last = tmp_path / 'iter_9.pth'
    for path in (first, last):
        path.touch()
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    cfg = applied(OURS | dict(load_from='start.pth'), *work_dir, *flags)
    assert (cfg.resume, cfg.load_from) == (True, None)
    assert cfg.default_hooks.checkpoint.start_from == 'start.pth'
    given = dict(resume=True, load_from=str(first))
    assert applied(OURS, *work_dir, '--resume', str(first)).load_from == str(first)
    assert applied(OURS | given, *work_dir).load_from == str(first)
    (tmp_path / 'last_checkpoint').write_text(str(last))
    assert applied(OURS, *work_dir, '--resume', str(first)).load_from == str(last)
    assert applied(OURS | given, *work_dir).load_from == str(last)


@pytest.mark.parametrize('kind', [None, 'OptimWrapper', 'AutocastOptimWrapper'])
def test_amp_is_autocast_to_bfloat16(kind):
    wrapper = dict(optimizer=dict(type='SGD')) | ({} if kind is None else dict(type=kind))
    cfg = applied(dict(optim_wrapper=wrapper), '--amp')
    assert cfg.optim_wrapper.type == 'nextvid_mm.AutocastOptimWrapper'
    assert cfg.optim_wrapper.dtype == 'bfloat16'


def test_amp_keeps_a_chosen_type_and_refuses_what_it_does_not_know():
    cfg = applied(dict(optim_wrapper=dict(type='OptimWrapper', dtype='float16')), '--amp')
    assert cfg.optim_wrapper.dtype == 'float16'
    assert applied(dict(optim_wrapper=dict(type='AmpOptimWrapper')), '--amp').optim_wrapper == dict(
        type='AmpOptimWrapper'
    )
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        applied(dict(optim_wrapper=dict(type='ApexOptimWrapper')), '--amp')


@pytest.mark.parametrize(('dtype', 'expected'), [('auto', 'bfloat16'), ('float16', 'float16')])
def test_amp_of_a_probe_is_the_frozen_encoders(dtype, expected):
    wrapper = dict(type='OptimWrapper', constructor='ProbeOptimWrapperConstructor')
    cfg = applied(dict(optim_wrapper=wrapper, model=dict(dtype=dtype)), '--amp')
    assert cfg.optim_wrapper == wrapper
    assert cfg.model.dtype == expected


def test_auto_scale_lr():
    cfg = applied(dict(auto_scale_lr=dict(base_batch_size=64)), '--auto-scale-lr')
    assert cfg.auto_scale_lr.enable
    with pytest.raises(ValueError, match='base_batch_size'):
        applied({}, '--auto-scale-lr')


def test_seed_flags_win_over_the_config(monkeypatch):
    cfg = applied(dict(randomness=dict(seed=1, deterministic=False)), '--seed', '7')
    assert cfg.randomness == dict(seed=7, deterministic=False)
    monkeypatch.delenv('CUBLAS_WORKSPACE_CONFIG', raising=False)
    applied({})
    assert 'CUBLAS_WORKSPACE_CONFIG' not in os.environ
    cfg = applied({}, '--deterministic', '--diff-rank-seed')
    assert os.environ['CUBLAS_WORKSPACE_CONFIG'] == ':4096:8'
    assert cfg.randomness == dict(seed=None, deterministic=True, diff_rank_seed=True)


def test_options_come_last():
    cfg = applied({}, '--work-dir', 'a', '--cfg-options', 'work_dir=b', 'model.depth=3')
    assert cfg.work_dir == 'b'
    assert cfg.model.depth == 3


def test_load_config_checks_keys_and_files(tmp_path, monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '0')
    path = tmp_path / 'c.py'
    path.write_text('optim_wrapper = dict()\nmodle = dict()\n')
    args = parse()
    args.config = str(path)
    with pytest.raises(ValueError, match="Did you mean 'model'"):
        load_config(args)
    path.write_text('optim_wrapper = dict()\n')
    assert load_config(args).work_dir == 'work_dirs/c'
    args.config = str(tmp_path / 'absent.py')
    with pytest.raises(FileNotFoundError, match=r'absent\.py'):
        load_config(args)
