"""Blocks of the docs that are made from results."""

import re

import pytest

from benchmarks.pages import BLOCKS, ROOT, written


@pytest.mark.parametrize('page', BLOCKS)
def test_pages_hold_what_their_results_say(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    assert written(text, BLOCKS[page]) == text, 'run python -m benchmarks.pages'


@pytest.mark.parametrize('page', BLOCKS)
def test_every_block_of_a_page_is_made_by_something(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    assert re.findall(r'<!-- (?!end)(\w+) -->', text) == list(BLOCKS[page])


def test_a_block_is_made_anew_and_the_rest_is_left():
    page = 'a\n<!-- x -->\nold\n<!-- end -->\nb\n<!-- y -->\n<!-- end -->\n'
    blocks = dict(x=lambda: '\\1\n', y=lambda: 'new\n')
    expected = 'a\n<!-- x -->\n\\1\n<!-- end -->\nb\n<!-- y -->\nnew\n<!-- end -->\n'
    assert written(page, blocks) == expected
    assert written(expected, blocks) == expected


@pytest.mark.parametrize('page', ['', '<!-- x -->\n', '<!-- x -->\n<!-- end -->\n' * 2])
def test_a_page_without_its_block_is_an_error(page):
    with pytest.raises(ValueError, match=r'a page must have <!-- x --> \.\.\. <!-- end --> once'):
        written(page, dict(x=str))
