"""What docs/ablations.md says is so: its rows, the paper's figures, its commands up to the work."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from nextvid_mm.demo.ablations import TABLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/ablations.md').read_text(encoding='utf-8')
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


def test_a_table_is_run_by_the_command_of_the_page(run, monkeypatch, tmp_path):
    """Up to the work: the folder it is given belongs to runs of another budget."""
    (tmp_path / 'budget.json').write_text('{}')
    monkeypatch.setattr('nextvid_mm.demo.data.generate.make_demo_data', lambda *arguments: None)
    command = next(command for command in COMMANDS if '--table' in command)
    words = [*shlex.split(command, comments=True)[2:], '--work-dir', str(tmp_path)]
    with pytest.raises(SystemExit, match=r'run_ablations: error: .* runs of another budget'):
        run(words)
