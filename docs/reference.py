"""A hook of MkDocs: one page of reference for each room of the package, from its docstrings.

Pages exist only while the site is built. ``mkdocstrings`` reads the sources without running them,
so that building the site needs neither PyTorch nor MMEngine.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'nextvid_mm'
# A room this large gets a page for each of its own rooms.
SPLIT = ('models', 'engine')


def rooms() -> dict[str, str]:
    """Dotted names of the modules and packages that get a page, with the first line of each."""
    found = [path for path in PACKAGE.iterdir() if (path / '__init__.py').is_file()]
    found += [
        path
        for name in SPLIT
        for path in (PACKAGE / name).iterdir()
        if (path / '__init__.py').is_file()
    ]
    found = [path for path in found if path.name not in SPLIT]
    found += [path for name in SPLIT for path in (PACKAGE / name).glob('[!_]*.py')]
    found.append(PACKAGE / 'registry.py')
    return {_dotted(path): _first_line(path) for path in sorted(found)}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, and an index of them."""
    lines = ['# Reference', '', '| room | |', '|---|---|']
    for name, line in rooms().items():
        files.append(
            File.generated(config, f'reference/{name}.md', content=f'# {name}\n\n::: {name}\n')
        )
        lines.append(f'| [`{name}`]({name}.md) | {line} |')
    files.append(File.generated(config, 'reference/index.md', content='\n'.join(lines) + '\n'))
    return files


def on_page_markdown(markdown: str, **kwargs: Any) -> str:
    """Name what lies outside of ``docs/`` instead of linking it: the site does not hold it."""
    return re.sub(r'\[([^]]+)\]\(\.\./([^)]+)\)', r'\1 (`\2`)', markdown)


def _dotted(path: Path) -> str:
    return '.'.join(path.relative_to(ROOT).with_suffix('').parts)


def _first_line(path: Path) -> str:
    source = path / '__init__.py' if path.is_dir() else path
    text = ast.get_docstring(ast.parse(source.read_text(encoding='utf-8'))) or ''
    return text.partition('\n')[0].replace('|', '\\|')
