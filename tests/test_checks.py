"""Checks of values that users write."""

import re

import pytest

from nextvid_mm.checks import check_count, meant


def test_whole_numbers_from_the_least_on():
    check_count(1, 'interval')
    check_count(0, 'clips', least=0)


@pytest.mark.parametrize(('value', 'least'), [(0, 1), (-1, 0), (1.5, 1), (True, 1), ('2', 1)])
def test_other_values_are_named(value, least):
    message = re.escape(f'steps={value!r} must be a whole number of at least {least}')
    with pytest.raises(ValueError, match=message):
        check_count(value, 'steps', least)


def test_the_key_that_was_meant():
    assert meant('stpes', ['steps', 'lr']) == "Did you mean 'steps'?"
    assert meant('colour', {'steps', 'lr'}) == 'Known: lr, steps.'
