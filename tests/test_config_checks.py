"""A config is held against the components it names; tests/test_mistakes.py has the mistakes."""

import ast

import pytest

from nextvid_mm.config_checks import problems


def found(cfg, **annotations):
    runner = {key: ast.parse(annotations.get(key, 'Any')).body[0].value for key in cfg}
    return [(problem.path, problem.text) for problem in problems(cfg, runner)]


def test_a_plugins_component_is_looked_for_in_its_source(tmp_path, monkeypatch):
    (tmp_path / 'of_the_test.py').write_text('')
    package = tmp_path / 'a_plugin'
    package.mkdir()
    (package / '__init__.py').write_text(
        '@HOOKS.register_module()\nclass MyHook(Hook):\n    def __init__(self, often=1): ...\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    cfg = dict(custom_imports=dict(imports=['a_plugin']), custom_hooks=[dict(type='MyHook')])
    assert found(cfg) == []
    cfg['custom_hooks'][0]['oftn'] = 2
    ((path, text),) = found(cfg)
    assert path == 'custom_hooks[0].oftn'
    assert text == "nothing reads the key 'oftn' of MyHook. Did you mean 'often'?"


def test_what_nobody_can_look_up_is_left_to_the_registry():
    assert found(dict(model=dict(type='somewhere.else.Model', depth=-2))) == [
        ('model.depth', 'found -2, which must be at least 1')
    ]
    assert found(dict(model=dict(type='Zzzz', any_key=3, norm_cfg=dict(type='LN', eps=1e-6)))) == []


def test_scopes_change_where_a_name_is_looked_for():
    cfg = dict(model=dict(_scope_='mmpretrain', type='GlobalAveragePooling', dimm=2))
    ((path, text),) = found(cfg)
    assert path == 'model.dimm'
    assert "Did you mean 'dim'?" in text


@pytest.mark.parametrize(
    ('annotation', 'value', 'fits'),
    [
        ('int', 3, True),
        ('int', True, False),
        ('float', 3, True),
        ('Optional[str]', None, True),
        ('Optional[str]', 3, False),
        ('Union[int, str]', 'a', True),
        ('Sequence[int]', 3, True),  # not looked at
        ('"str | None"', [], False),
    ],
)
def test_simple_types_are_compared(annotation, value, fits):
    assert bool(found(dict(key=value), key=annotation)) != fits


def test_keys_of_a_component_that_hands_them_on_are_its_bases():
    hook = dict(type='SafeCheckpointHook', save_best='auto', published_keys=['a'])
    assert found(dict(default_hooks=dict(checkpoint=hook))) == []
    assert found(dict(param_scheduler=[dict(type='CosineAnnealingLR', T_max=3, etamin=0)]))
    wrapper = dict(type='mmaction.TorchVisionWrapper', op='ColorJitter', anything=3)
    assert found(dict(train_dataloader=dict(dataset=dict(pipeline=[wrapper])))) == []
