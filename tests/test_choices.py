"""docs/choices.md: what it names exists, and configs name its rows."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/choices.md').read_text(encoding='utf-8')
COLUMNS = ('row', 'the paper', 'others', 'ours', 'key', 'figure')
POINTER = 'Decides these rows of docs/choices.md:'
CONFIGS = [p for p in (ROOT / 'configs').rglob('*.py') if POINTER in p.read_text(encoding='utf-8')]
SOURCES = '\n'.join(
    path.read_text(encoding='utf-8')
    for folder in ('nextvid_mm', 'configs')
    for path in sorted((ROOT / folder).rglob('*.py'))
)


def rows():
    """The rows of the tables of choices."""
    found = []
    for line in PAGE.partition('## Masks in numbers')[0].splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith('| ') and cells[0] != 'row':
            assert len(cells) == len(COLUMNS), line
            found.append(dict(zip(COLUMNS, cells, strict=True)))
    return found


def test_every_row_is_complete_and_has_a_name_of_its_own():
    names = [row['row'] for row in rows()]
    assert len(names) > 25
    assert len(set(names)) == len(names)
    assert all(cell for row in rows() for cell in row.values()), 'use – for nothing'


@pytest.mark.parametrize('row', rows(), ids=lambda row: row['row'])
def test_every_key_exists(row):
    for key in re.findall(r'`([^`]+)`', row['key']):
        if '/' in key:
            assert (ROOT / key).exists(), key
            continue
        for word in re.findall(r'[A-Za-z_]\w+', re.sub(r"'[^']*'", '', key)):
            assert re.search(rf'\b{word}\b', SOURCES), f'{key}: {word}'


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_configs_name_rows_that_are_there(path):
    comment = path.read_text(encoding='utf-8').partition(POINTER)[2]
    text = comment.replace('\n# ', ' ').partition('.')[0]
    named = [name.strip() for name in text.split(',')]
    assert set(named) <= {row['row'] for row in rows()}, named


def test_the_published_configs_point_to_the_page():
    stems = {path.stem for path in CONFIGS}
    assert {'nextvid_vit-large', 'paper_mixture', 'paper_4stage', 'attentive', 'video'} <= stems
