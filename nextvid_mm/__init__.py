"""NExT-Vid on OpenMMLab: autoregressive next-frame pretraining of video encoders.

Importing this package applies the work-arounds of :mod:`nextvid_mm.compat` and creates the
registries of the scope ``nextvid_mm``; the components themselves are imported on first use. A
config therefore needs one line, ``custom_imports = dict(imports=['nextvid_mm'])``.

Both wait for the library they concern, so the import itself takes milliseconds: the registries are
created when MMEngine's are, at once in a config, never for ``nextvid --help`` or where MMEngine is
not installed and not needed.
"""

import importlib
from functools import partial
from types import ModuleType

from nextvid_mm import compat
from nextvid_mm.late_imports import explain_missing_libraries, when_imported
from nextvid_mm.version import __version__

__all__ = ['__version__', 'compat', 'registry']


def __getattr__(name: str) -> ModuleType:
    """Import ``registry`` for those who ask before MMEngine is there."""
    if name == 'registry':
        return importlib.import_module('nextvid_mm.registry')
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


explain_missing_libraries()
compat.apply()
when_imported('mmengine.registry', act=partial(__getattr__, 'registry'))
