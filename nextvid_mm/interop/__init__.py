"""Checkpoint converters in and out."""

from .convert import FORMATS, TARGETS, convert
from .converted import Converted
from .export import export_encoder

__all__ = ['FORMATS', 'TARGETS', 'Converted', 'convert', 'export_encoder']
