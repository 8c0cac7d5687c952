"""What docs/ablations.md says is so: its rows, figures and commands."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from nextvid_mm.ablations import TABLES

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / 'docs/ablations.md').read_text(encoding='utf-8')
COMMANDS = [
    line.partition('#')[0].strip()
    for block in re.findall(r'```bash\n(.*?)```', PAGE, re.DOTALL)
    for line in block.splitlines()
]


def test_every_row_is_listed_with_its_figures():
    lines = [line for line in PAGE.splitlines() if line.startswith('| `')]
    for row in {row.name: row for rows in TABLES.values() for row in rows if row.config}.values():
        (line,) = (line for line in lines if f'`{Path(row.config).stem}`' in line)
        if row.paper is not None:
            assert line.endswith(
                f'| {" / ".join(t.strip(" *") for t in row.paper)} |'.rstrip('|')
            ) or (
                line.rstrip(' |').endswith(' / '.join(t.strip(' *') for t in row.paper) + ' *')
            ), row.name


def test_the_tool_lists_its_rows(monkeypatch, capsys):
    assert 'python tools/run_ablations.py --list' in COMMANDS
    run(['--list'], monkeypatch)
    listed = capsys.readouterr().out
    assert all(row.name in listed for rows in TABLES.values() for row in rows)


@pytest.mark.parametrize(
    'command', [c for c in COMMANDS if 'run_ablations' in c and '--seeds' in c]
)
def test_flags_of_the_page_are_known(command, monkeypatch, tmp_path):
    """Everything up to the work: the rows of the page's command with a folder of another budget."""
    (tmp_path / 'budget.json').write_text('{}')
    words = shlex.split(command)[2:] + ['--work-dir', str(tmp_path)]
    monkeypatch.setattr('nextvid_mm.datasets.demo.make_demo_data', lambda *arguments: None)
    with pytest.raises(SystemExit, match=r'run_ablations: error: .* runs of another budget'):
        run(words, monkeypatch)


def test_configs_of_the_page_exist():
    configs = [word for c in COMMANDS for word in c.split() if word.startswith('configs/')]
    assert len(configs) == 2
    assert all((ROOT / config).is_file() for config in configs)


def run(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, 'argv', ['run_ablations.py', *words])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    runpy.run_path(str(ROOT / 'tools/run_ablations.py'), run_name='__main__')
