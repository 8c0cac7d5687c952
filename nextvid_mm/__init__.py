"""NExT-Vid on OpenMMLab: autoregressive next-frame pretraining of video encoders.

Importing this package applies the work-arounds of :mod:`nextvid_mm.compat` and creates the
registries of the scope ``nextvid_mm``; the components themselves are imported on first use. A
config therefore needs one line, ``custom_imports = dict(imports=['nextvid_mm'])``.
"""

from nextvid_mm import compat

compat.apply()

from nextvid_mm import registry  # noqa: E402  (the registries rely on the work-arounds)
from nextvid_mm.version import __version__  # noqa: E402

__all__ = ['__version__', 'compat', 'registry']
