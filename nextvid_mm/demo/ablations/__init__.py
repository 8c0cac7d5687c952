"""Ablations and baselines at the demo's scale: same data, steps, seeds and probe for every row."""

from nextvid_mm.demo.ablations.comparing import best_settings, comparison
from nextvid_mm.demo.ablations.report import goals, make_tables, markdown, write_report
from nextvid_mm.demo.ablations.results import Budget, Moment, RunResult, read_folder, read_result
from nextvid_mm.demo.ablations.runs import run_rows
from nextvid_mm.demo.ablations.tables import TABLES, Row, select_rows

__all__ = [
    'TABLES',
    'Budget',
    'Moment',
    'Row',
    'RunResult',
    'best_settings',
    'comparison',
    'goals',
    'make_tables',
    'markdown',
    'read_folder',
    'read_result',
    'run_rows',
    'select_rows',
    'write_report',
]
