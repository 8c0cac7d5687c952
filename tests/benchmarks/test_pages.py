"""Blocks of the docs that are made from results."""

import json
import re
import statistics

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


def last(folder, name):
    """Accuracies at the end of a run, as its file has them."""
    text = (ROOT / 'benchmarks/results' / folder / f'{name}.json').read_text(encoding='utf-8')
    return json.loads(text)['moments'][-1]


def line_of(block, first):
    """Cells of the one line that begins with some."""
    (line,) = (line for line in block.splitlines() if line.startswith(f'| {first} |'))
    return [cell.strip() for cell in line.split('|')[1:-1]]


def test_the_readme_has_means_over_the_seeds_of_a_row():
    runs = [last('ablations', f'table2_full_seed_{seed}')['top1'] for seed in range(5)]
    cells = line_of(BLOCKS['README.md']['seeds'](), 'full method')
    for cell, question in zip(cells[1:], ('how', 'what'), strict=False):
        values = [run[question] for run in runs]
        assert cell == f'{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}'


def test_a_row_of_the_paper_has_both_probes_beside_the_full_method():
    cells = line_of(BLOCKS['docs/ablations.md']['paper'](), '11 | no EMA')
    for place, (probe, question) in enumerate(
        (probe, question) for probe in ('top1', 'knn') for question in ('how', 'what')
    ):
        mine, full = (
            [last('ablations', f'{row}_seed_{seed}')[probe][question] for seed in range(5)]
            for row in ('table11_ema-none', 'table2_full')
        )
        level, gap = cells[3 + 2 * place : 5 + 2 * place]
        assert level.startswith(f'{statistics.mean(mine):.1f} ± ')
        assert gap.startswith(f'{statistics.mean(mine) - statistics.mean(full):+.1f} ± ')
    assert cells[-1] == '<10 / <10'


def test_a_setting_that_was_searched_stands_under_its_rate():
    for rate, place in (('0.2', 2), ('1', 3)):
        top1 = last('search', f'search_next-frame_rate-{rate}_1_seed_100')['top1']
        cells = line_of(
            BLOCKS['docs/ablations.md']['search'](), 'next-frame regression | decay 0.04'
        )
        assert cells[place] == f'{top1["how"]:.1f} / {top1["what"]:.1f}'


def test_states_stand_under_their_names():
    text = (ROOT / 'benchmarks/results/states.json').read_text(encoding='utf-8')
    record = json.loads(text)['full method']
    cells = line_of(BLOCKS['docs/ablations.md']['states'](), 'full method')
    names = ('position', 'size', 'velocity', 'growth')
    assert cells[1:5] == [f'{record[name]:.2f}' for name in names]
    assert cells[5:] == [f'{record["kind"]:.1f}', f'{record["rank"]:.1f}']
