"""Ablations and baselines at the demo's scale: same data, steps, seeds and probe for every row."""

from nextvid_mm.demo.ablations.report import draw_plot, make_table, summarise
from nextvid_mm.demo.ablations.runs import Budget, RunResult, run_rows
from nextvid_mm.demo.ablations.tables import TABLES, Row, select_rows

__all__ = [
    'TABLES',
    'Budget',
    'Row',
    'RunResult',
    'draw_plot',
    'make_table',
    'run_rows',
    'select_rows',
    'summarise',
]
