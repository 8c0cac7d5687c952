"""Checkpoint converters in and out. Importing this registers our encoders with timm, no more."""

import importlib
import typing

from . import timm_models

_HOMES = dict(
    FORMATS='published',
    TARGETS='published',
    convert='published',
    Converted='converted',
    export_encoder='export',
)

__all__ = ['FORMATS', 'TARGETS', 'Converted', 'convert', 'export_encoder', 'timm_models']


def __getattr__(name: str) -> typing.Any:
    """Import what needs MMEngine when it is asked for: the timm models do without."""
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
