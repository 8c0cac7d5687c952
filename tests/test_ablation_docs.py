"""What docs/ablations.md says is so: its rows, the paper's figures, its commands up to the work."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from benchmarks.states import QUANTITIES
from benchmarks.worlds import compare as worlds
from nextvid_mm.demo.ablations import (
    TABLES,
    Budget,
    comparison,
    goals,
    markdown,
    read_folder,
    read_result,
)

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/ablations.md').read_text(encoding='utf-8')
RESULTS = ROOT / 'benchmarks/results/ablations'
COMMANDS = re.findall(r'python tools/run_ablations.py .*', PAGE)


@pytest.fixture
def run(monkeypatch):
    def run(words):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, 'argv', ['run_ablations.py', *words])
        monkeypatch.setattr(sys, 'path', sys.path.copy())
        runpy.run_path(str(ROOT / 'tools/run_ablations.py'), run_name='__main__')

    return run


def test_every_row_is_listed_with_the_figures_of_the_paper():
    lines = [line for line in PAGE.splitlines() if line.startswith('| `')]
    for row in (row for rows in TABLES.values() for row in rows if row.config):
        (line,) = (line for line in lines if f'`{Path(row.config).stem}`' in line)
        if row.paper is not None:
            assert line.endswith(f'| {" / ".join(row.paper)} |'), row.name


def test_the_tool_lists_its_rows(run, capsys):
    assert 'python tools/run_ablations.py --list' in COMMANDS
    run(['--list'])
    listed = capsys.readouterr().out
    assert all(row.name in listed for rows in TABLES.values() for row in rows)


def test_the_page_s_table_is_that_of_the_runs_that_are_in():
    shown = re.search(r'<!-- compare -->\n(.*?)<!-- end -->', PAGE, re.DOTALL)[1]
    rows = TABLES['compare']
    results = read_folder(RESULTS, rows, range(100), Budget())
    expected = markdown(comparison(rows, results)) if results else 'No run is in yet.\n'
    assert shown == expected, f'write this into docs/ablations.md:\n{expected}'


def test_the_page_says_which_goals_are_met_by_the_same_runs():
    shown = re.search(r'<!-- goals -->\n(.*?)<!-- end -->', PAGE, re.DOTALL)[1]
    expected = goals(read_folder(RESULTS, TABLES['compare'], range(100), Budget()))
    assert shown == expected, f'write this into docs/ablations.md:\n{expected}'


def test_the_page_s_search_is_that_of_its_results():
    shown = re.search(r'<!-- search -->\n(.*?)<!-- end -->', PAGE, re.DOTALL)[1]
    cells = re.findall(r'\d+\.\d / \d+\.\d', shown)
    runs = [read_result(path) for path in (ROOT / 'benchmarks/results/search').glob('*.json')]
    found = [f'{run.last.top1["how"]:.1f} / {run.last.top1["what"]:.1f}' for run in runs]
    assert sorted(cells) == sorted(found)
    titles = {row.name: row.title.split(', ') for row in TABLES['search']}
    for run, cell in zip(runs, found, strict=True):
        method, _, setting = titles[run.row]
        assert re.search(rf'^\| {method} \| {setting} \|.*{cell}', shown, re.MULTILINE), run.row


def test_the_page_s_states_are_those_that_were_measured():
    records = json.loads((ROOT / 'benchmarks/results/states.json').read_text(encoding='utf-8'))
    for name, record in records.items():
        numbers = [f'{record[quantity]:.2f}' for quantity in QUANTITIES]
        numbers += [f'{record["kind"]:.1f}', f'{record["rank"]:.1f}']
        assert f'| {name} | {" | ".join(numbers)} |' in PAGE


def test_the_readme_has_the_figures_of_the_same_runs():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    lines = [[cell.strip() for cell in line.split('|')[1:-1]] for line in readme.splitlines()]
    rows = [row for row in TABLES['compare'] if any(row.title == line[0] for line in lines if line)]
    assert len(rows) == 4
    results = read_folder(RESULTS, TABLES['compare'], range(100), Budget())
    entries = comparison(TABLES['compare'], results).entries
    for row in rows:
        (line,) = (line for line in lines if line and line[0] == row.title)
        entry = entries[row.name]
        expected = [entry.level('how'), entry.level('what'), f'{entry.cpu_seconds:.0f}']
        assert line[1:] == expected, row.title


def test_a_table_is_run_by_the_command_of_the_page(run, monkeypatch, tmp_path):
    """Up to the work: the folder it is given belongs to runs of another budget."""
    (tmp_path / 'budget.json').write_text('{}')
    monkeypatch.setattr('nextvid_mm.demo.data.generate.make_demo_data', lambda *arguments: None)
    command = next(command for command in COMMANDS if '--table' in command)
    words = [*shlex.split(command, comments=True)[2:], '--work-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match=r'run_ablations: error: .* runs of another budget'):
        run(words)


def test_the_second_world_s_table_is_that_of_its_results():
    page = (ROOT / 'docs/second_world.md').read_text(encoding='utf-8')
    shown = re.search(r'<!-- worlds -->\n(.*?)<!-- end -->', page, re.DOTALL)[1]
    expected = worlds.markdown(ROOT / 'benchmarks/results/worlds', worlds.validation_labels())
    assert shown == expected, f'write this into docs/second_world.md:\n{expected}'
