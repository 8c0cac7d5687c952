"""Encoders side by side: the same protocols on the same data, one table."""

from .cells import Cell, CellFolder
from .run import Evaluation, Row
from .table import make_table, summarise, write_results

__all__ = ['Cell', 'CellFolder', 'Evaluation', 'Row', 'make_table', 'summarise', 'write_results']
