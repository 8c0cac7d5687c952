"""Keys nobody reads are errors; helper variables are not."""

import pytest
from mmengine.config import Config

from nextvid_mm import config_files
from nextvid_mm.config_files import (
    check_config,
    checked_config,
    find_config,
    home_folder,
    project_folder,
    runner_keys,
)


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
            'custom_hooks = [dict(type="EMAHook", momentum=_base_.old_name)]\n'
            'custom_imports = dict(imports=[])\n'
            'find_unused_parameters = True\n'
        )
    )


def test_a_helper_of_the_base_may_be_used_above_it(write):
    write('unused_here = 3\n', 'base.py')
    check(write("_base_ = './base.py'\nmodel = dict(a=_base_.unused_here)\n"))


def test_what_a_run_has_written_may_hold_helpers(write, tmp_path):
    text = 'size = 64\n_half = size // 2\nwork_dir = "runs"\nmodel = dict(type="A", size=_half)\n'
    written = tmp_path / 'written.py'
    Config.fromfile(write(text)).dump(written)
    check(str(written))
    with pytest.raises(ValueError, match="'size'"):  # of a config by hand, it is a mistake
        check(write('size = 64\nwork_dir = "runs"\nmodel = dict(type="A")\n'))


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
    check(path, ['model.a', 'optim_wrapper.optimizer', 'size'])
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
    assert read <= runner_keys()
    assert {'model_wrapper_cfg', 'compile', 'sync_bn'} <= read


def test_the_keys_are_those_of_the_runner_in_use():
    import inspect

    from mmengine.runner import Runner

    assert set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} <= runner_keys()


def test_configs_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = project_folder() / 'configs/nextvid/vit-tiny_demo.py'
    for name in ('configs/nextvid/vit-tiny_demo.py', 'nextvid/vit-tiny_demo.py', there):
        assert find_config(name) == there
    (tmp_path / 'nextvid').mkdir()
    own = tmp_path / 'nextvid/vit-tiny_demo.py'
    own.touch()
    assert find_config('nextvid/vit-tiny_demo.py').resolve() == own
    with pytest.raises(
        FileNotFoundError, match=r'config file absent\.py does not exist; see .*configs'
    ):
        find_config('absent.py')


def test_an_installed_wheel_has_its_configs_inside(tmp_path, monkeypatch):
    package = tmp_path / 'site-packages/nextvid_mm'
    monkeypatch.setattr(config_files, '__file__', str(package / 'config_files.py'))
    monkeypatch.chdir(tmp_path)
    assert project_folder() == package / '.mim'
    assert home_folder() == tmp_path
    (package.parent / 'configs/nextvid').mkdir(parents=True)
    assert project_folder() == home_folder() == package.parent


def test_a_config_is_read_with_its_options(write):
    path = write('size = 3\nmodel = dict(a=size)\n')
    assert checked_config(path, {'model.a': 4}).model.a == 4
    with pytest.raises(ValueError, match=r'--cfg-options modle'):
        checked_config(path, {'modle.a': 4})
    bad = write('size = 3\nimport absent_module\n', 'bad.py')
    with pytest.raises(ValueError, match="nothing reads the key 'size'"):  # before it is run
        checked_config(bad)


def test_bases_by_the_name_of_the_package_are_followed(write):
    path = write("_base_ = 'nextvid_mm::nextvid/vit-tiny_demo.py'\nepochs = 3\n")
    with pytest.raises(ValueError, match=r"config\.py: nothing reads the key 'epochs'"):
        check_config({}, path)
    path = write("_base_ = 'nextvid_mm::nextvid/vit-tiny_demo.py'\n")
    check_config({}, path, ['train_cfg.stages.0.steps'])
