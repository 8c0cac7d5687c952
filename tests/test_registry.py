import subprocess
import sys

import mmengine.registry
import pytest
from mmengine.registry import Registry

from nextvid_mm import registry

ROOTS = sorted(
    name for name, value in vars(mmengine.registry).items() if isinstance(value, Registry)
)


@pytest.mark.parametrize('name', ROOTS)
def test_every_root_registry_has_a_child_of_the_same_name(name):
    child = getattr(registry, name)
    assert child.scope == registry.SCOPE == 'nextvid_mm'
    assert child.parent is getattr(mmengine.registry, name)
    assert child.name == child.parent.name


def test_all_lists_every_registry():
    assert sorted(registry.__all__) == sorted(
        [*ROOTS, 'SCOPE', 'build_runner', 'require_registered', 'unwrap']
    )


@pytest.mark.parametrize('name', ROOTS)
def test_locations_can_be_imported(name):
    getattr(registry, name).import_from_location()


def test_unprefixed_names_climb_to_the_root():
    import mmengine.dataset

    assert registry.DATA_SAMPLERS.get('DefaultSampler') is mmengine.dataset.DefaultSampler


def test_importing_the_package_imports_no_component():
    code = """
import sys, nextvid_mm
heavy = ('mmaction', 'mmpretrain', 'mmcv', 'timm', 'diffusers', 'nextvid_mm.models')
print(*(name for name in heavy if name in sys.modules))
"""
    assert _run(code).strip() == ''


def test_one_config_reaches_all_three_scopes_from_one_import(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("""
custom_imports = dict(imports=['nextvid_mm'])
default_scope = 'nextvid_mm'
models = [
    dict(type='nextvid_mm.PixelTarget'),
    dict(type='PixelTarget'),
    dict(type='mmaction.ActionDataPreprocessor', format_shape='NCTHW'),
    dict(type='mmpretrain.GlobalAveragePooling'),
]
""")
    code = f"""
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

config = Config.fromfile({str(config)!r})
DefaultScope.get_instance('test', scope_name=config.default_scope)
for model in config.models:
    with MODELS.switch_scope_and_registry(None) as registry:
        print(registry.get(model.type).__module__.split('.')[0])
"""
    assert _run(code).split() == ['nextvid_mm', 'nextvid_mm', 'mmaction', 'mmpretrain']


def _run(code: str) -> str:
    """Run ``code`` in a fresh process, where nothing is imported yet, and return what it prints."""
    command = [sys.executable, '-W', 'ignore', '-c', code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    'kind', ['CausalViT', 'nextvid_mm.CausalViT', 'mmaction.ActionDataPreprocessor', 'AdamW',
             'mmengine.AdamW', 'mmpretrain.MAEViT', 'NotThereAtAll'],
)  # fmt: skip
def test_a_config_in_a_file_may_name_components(kind):
    """A plain name that is not there is the registry's to refuse: it calls nothing."""
    registry.require_registered(dict(model=[dict(type=kind)]), 'x')


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(type='os.system', command='true'), r"x\.json: type='os.system' in its config is no"),
        (dict(a=[dict(type='mmengine.load', file='a.pkl')]), "type='mmengine.load'"),
        (dict(a=(dict(type='mmaction.digit_version'),)), "type='mmaction.digit_version'"),
        (dict(type='this'), "type='this'"),
        (dict(type=''), "type=''"),
        (
            dict(optim_wrapper=dict(constructor='subprocess.Popen')),
            "constructor='subprocess.Popen'",
        ),
        (dict(runner_type='pathlib.Path'), "runner_type='pathlib.Path'"),
        (dict(a=dict(_scope_='this')), "_scope_='this' in its config is no scope"),
    ],
)
def test_a_config_in_a_file_may_name_nothing_else(config, message):
    with pytest.raises(ValueError, match=message):
        registry.require_registered(config, 'x.json')
