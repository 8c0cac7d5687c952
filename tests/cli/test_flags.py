import argparse

import pytest

from nextvid_mm.cli.flags import ENCODERS, FLOATS, SHARED, add_shared, device_of


@pytest.fixture
def parser():
    return argparse.ArgumentParser(prog='tool')


def test_options_are_parsed_as_mmengine_does(parser):
    from mmengine.config import DictAction

    theirs = argparse.ArgumentParser()
    theirs.add_argument('--cfg-options', nargs='+', action=DictAction)
    add_shared(parser, '--cfg-options')
    words = ['--cfg-options', 'a.b=1', 'c=[1,(2,x)]', 'd=1e-3', 'e=None', 'f=a=b']
    assert parser.parse_args(words) == theirs.parse_args(words)
    assert parser.parse_args([]).cfg_options is None


def test_a_word_without_a_value_is_a_usage_error(parser, capsys):
    add_shared(parser, '--cfg-options')
    with pytest.raises(SystemExit) as end:
        parser.parse_args(['--cfg-options', 'model'])
    assert end.value.code == 2
    assert "'model' is not KEY=VALUE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('settings', 'shown'),
    [
        ({}, 'seed of x'),
        (dict(default=0), 'seed of x (default: 0)'),
        (dict(default=None), 'seed of x'),
    ],
)
def test_help_is_meaning_what_the_tool_adds_and_default(parser, settings, shown):
    add_shared(parser, '--seed', 'of x', **settings)
    assert parser.format_help().rstrip().endswith(f'  {shown}')


def test_lists_of_defaults_and_aliases(parser):
    add_shared(parser, '--seeds', '', '--all-seeds', default=[0, 1])
    assert 'one run for each (default: 0 1)' in parser.format_help()
    assert parser.parse_args(['--all-seeds', '3']).seeds == [3]


def test_choices_are_those_of_the_package():
    from nextvid_mm.inferencers import features
    from nextvid_mm.layers import check_dtype

    assert set(FLOATS) == set(features.STORED_TYPES)
    for name in SHARED['--dtype'][1]['choices']:
        check_dtype(name, 'dtype')
    assert SHARED['--weights'][1]['choices'] == ENCODERS


def test_the_device_is_the_one_named_or_the_fastest():
    from mmengine.device import get_device

    assert device_of(argparse.Namespace(device='cpu')) == 'cpu'
    assert device_of(argparse.Namespace(device=None)) == get_device()
