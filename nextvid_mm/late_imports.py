"""What happens when another library is imported, or is not there to be imported."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

OPENMMLAB = ('mmengine', 'mmcv', 'mmaction', 'mmpretrain')
INSTALL = (
    'Install the OpenMMLab libraries with: '
    'pip install --no-deps mmengine "mmcv-lite<2.2" mmaction2 mmpretrain'
)


def when_imported(*names: str, act: Callable[[], object]) -> None:
    """Call ``act`` once all modules called ``names`` are imported: now, or after the last of them.

    Args:
        names: Full names of modules, none of which is imported by this call.
        act: What to do then.
    """
    missing = next((name for name in names if name not in sys.modules), None)
    if missing is None:
        act()
    else:
        sys.meta_path.insert(0, _Waiter(missing, partial(when_imported, *names, act=act)))


class _Waiter(MetaPathFinder, Loader):
    """Finds one module as usual, and acts when its code has run."""

    def __init__(self, name: str, act: Callable[[], object]) -> None:
        self.name = name
        self.act = act
        self.loader: Any = None
        self.searching = False

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the module's own spec with this loader in it; None for every other name."""
        if fullname != self.name or self.searching:
            return None
        self.searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self.searching = False
        if spec is not None and spec.loader is not None:
            self.loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its own loader back, run its code, act."""
        sys.meta_path.remove(self)
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.act()


class _MissingFinder(MetaPathFinder):
    """Asked last: says how to install the OpenMMLab libraries, which pip alone leaves out."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Raise for a library of this project that nothing else has found.

        Raises:
            ModuleNotFoundError: With the command that installs it.
        """
        if fullname in OPENMMLAB:
            raise ModuleNotFoundError(f'{fullname} is not installed. {INSTALL}', name=fullname)
        return None


def explain_missing_libraries() -> None:
    """Name the command that installs MMEngine and its siblings where one of them is missing."""
    sys.meta_path.append(_MissingFinder())
