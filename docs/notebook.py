"""Make ``docs/tutorial.ipynb`` of ``docs/tutorial.md``, which is its only source.

    python docs/notebook.py

A ``bash`` block of the page becomes a cell that runs it. A picture whose title is a path becomes a
cell that shows the file which the cells before it have written there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name('tutorial.md')
# Commands are run from the top of the project, where tools/ and configs/ are.
START = """\
import os

from IPython.display import Image

if not os.path.isdir('tools'):
    os.chdir('..')"""
_BLOCK = re.compile(r'^```bash\n(.*?)^```$|^!\[[^\]]*\]\(\S+ "(\S+)"\)$', re.DOTALL | re.MULTILINE)


def notebook(page: str) -> dict[str, Any]:
    """A notebook (format 4.4), without outputs.

    Args:
        page: Markdown.
    """
    cells, end = [_cell(START, 'code')], 0
    for found in _BLOCK.finditer(page):
        cells.append(_cell(page[end : found.start()]))
        commands, picture = found.groups()
        cells.append(_cell(f'%%bash\n{commands}' if commands else f'Image({picture!r})', 'code'))
        end = found.end()
    cells.append(_cell(page[end:]))
    python = dict(display_name='Python 3', language='python', name='python3')
    return dict(
        cells=[cell for cell in cells if cell['source']],
        metadata=dict(kernelspec=python),
        nbformat=4,
        nbformat_minor=4,
    )


def _cell(text: str, kind: str = 'markdown') -> dict[str, Any]:
    cell = dict(cell_type=kind, metadata={}, source=text.strip().splitlines(keepends=True))
    return cell | (dict(execution_count=None, outputs=[]) if kind == 'code' else {})


if __name__ == '__main__':
    text = json.dumps(notebook(PAGE.read_text(encoding='utf-8')), indent=1, ensure_ascii=False)
    PAGE.with_suffix('.ipynb').write_text(f'{text}\n', encoding='utf-8')
