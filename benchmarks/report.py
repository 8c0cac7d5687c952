"""Tables of a benchmark, and the same as JSON."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table


@dataclass
class Report:
    """Rows of a table with everything needed to run it again.

    Attributes:
        title: what was measured.
        settings: how.
        columns: of the table, in order; the keys of a row that are shown.
        rows: one dict each; keys beyond the columns go to the JSON only.
        notes: sentences below the table.
    """

    title: str
    settings: dict[str, Any]
    columns: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, **row: Any) -> None:
        """Append a row."""
        self.rows.append(row)

    def table(self) -> Table:
        """The rows as a rich table."""
        table = Table(title=self.title)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify='right' if number else 'left', no_wrap=not number)
        for row in self.rows:
            table.add_row(*(shown(row.get(column, '')) for column in self.columns))
        return table

    def show(self, console: Console | None = None) -> None:
        """Print table and notes."""
        console = console or Console(highlight=False)
        console.print(self.table())
        for note in self.notes:
            console.print(note)

    def write(self, path: str | Path) -> None:
        """Write everything to a JSON file, with the machine it was measured on."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self) | dict(machine=machine()), indent=2) + '\n')


def shown(value: Any) -> str:
    """A cell: numbers with three digits, what is not there as nothing."""
    if value is None:
        return ''
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return dict(
        processor=processor_name(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        torch=torch.__version__,
        capability=torch.backends.cpu.get_cpu_capability(),
    )


def processor_name() -> str:
    """Model name of the processor, where the system tells."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    return platform.processor() or platform.machine()
