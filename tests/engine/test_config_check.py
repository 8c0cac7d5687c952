"""Keys nobody reads are errors; helper variables are not."""

import pytest
from mmengine.config import Config

from nextvid_mm.engine.config_check import RUNNER_KEYS, check_config


@pytest.fixture
def write(tmp_path):
    def write(text, name='config.py'):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def check(filename, options=()):
    check_config(Config.fromfile(filename), filename, options)


def test_runner_keys_and_used_helpers_pass(write):
    write('data_root = "data"\nold_name = 3\nmodel = dict(type="A")\n', 'base.py')
    check(
        write(
            "_base_ = './base.py'\n"
            'size = 64\n'
            'pipeline = [dict(type="Resize", scale=size)]\n'
            'train_dataloader = dict(dataset=dict(root={{_base_.data_root}}, pipeline=pipeline))\n'
            'test_dataloader = dict(n=_base_.old_name)\n'
            'custom_imports = dict(imports=[])\n'
            'find_unused_parameters = True\n'
        )
    )


def test_a_helper_of_the_base_may_be_used_above_it(write):
    write('unused_here = 3\n', 'base.py')
    check(write("_base_ = './base.py'\nmodel = dict(a=_base_.unused_here)\n"))


def test_a_misspelt_key_is_named_with_its_file_and_the_right_one(write):
    path = write('train_dataloder = dict(num_workers=2)\n')
    with pytest.raises(
        ValueError, match=r"'train_dataloder'.*Did you mean 'train_dataloader'"
    ) as e:
        check(path)
    assert path in str(e.value)


def test_misspelt_keys_of_a_base_are_found(write):
    write('optim_wraper = dict()\n', 'base.py')
    with pytest.raises(ValueError, match=r'base.py.*optim_wrapper'):
        check(write("_base_ = ['./base.py']\nmodel = dict()\n"))


def test_a_base_may_be_chosen_by_an_environment_variable(write, monkeypatch):
    write('unread = 3\n', 'one.py')
    write('size = 3\nmodel = dict(size=size)\n', 'two.py')
    path = write("_base_ = './{{$SCALE_OF_TEST:two}}.py'\n")
    check(path)
    monkeypatch.setenv('SCALE_OF_TEST', 'one')
    with pytest.raises(ValueError, match=r"one\.py: nothing reads the key 'unread'"):
        check(path)


def test_other_libraries_bases_may_hold_unused_names(write):
    check(write("_base_ = 'mmaction::_base_/default_runtime.py'\nmodel = dict()\n"))


def test_options_must_hit_a_key(write):
    path = write('size = 3\nmodel = dict(a=size)\n')
    check(path, ['model.a', 'optim_wrapper.optimizer.lr', 'size'])
    with pytest.raises(ValueError, match=r"--cfg-options modle\.a.*'model'"):
        check(path, ['modle.a'])


@pytest.mark.parametrize(
    ('setting', 'key'),
    [
        ('env_cfg = dict(cudnn_benchmak=True)', 'cudnn_benchmark'),
        ('randomness = dict(sed=1)', 'seed'),
        ('auto_scale_lr = dict(enabled=True)', 'enable'),
    ],
)
def test_nested_settings_that_are_read_by_name(write, setting, key):
    with pytest.raises(ValueError, match=f'Did you mean {key!r}'):
        check(write(setting + '\n'))


def test_a_key_like_no_other_gets_the_list():
    with pytest.raises(ValueError, match=r'--cfg-options zzz\.1: .*Known: .*train_cfg'):
        check_config({}, None, ['zzz.1'])


def test_keys_the_runner_reads_from_its_config_are_known():
    """What MMEngine's Runner takes from its config; an update cannot add a key unseen."""
    import inspect
    import re

    from mmengine.runner import runner

    source = inspect.getsource(runner.Runner)
    read = set(re.findall(r"self\.cfg\.get\(\s*'(\w+)'", source))
    assert read <= RUNNER_KEYS
    assert {'model_wrapper_cfg', 'compile', 'sync_bn'} <= read
