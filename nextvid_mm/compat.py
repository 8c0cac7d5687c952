"""Every work-around for a third-party release, but for what they print (``runner_output``).

Each function states what goes wrong, the upstream issue and when it can go;
``tests/test_compat.py`` holds a test for each that fails once the release in use no longer needs
it. :func:`apply` runs them all, any number of times, and is called by ``import nextvid_mm``.
Nothing here imports another library: a work-around waits until the module it concerns has been
imported (:mod:`nextvid_mm.late_imports`), so that importing this package costs next to nothing.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial, partialmethod, wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from nextvid_mm.late_imports import when_imported
from nextvid_mm.runner_output import format_configs_once, keep_bulk_in_the_file, silence_advice

if TYPE_CHECKING:
    from mmengine.logging import HistoryBuffer
    from torch import nn

OURS = 'nextvid_mm'


@cache
def apply() -> None:
    """Apply every work-around; calling it again changes nothing."""
    supply_mmaction_drn()
    replace_mmaction_vindlu()
    find_packages_without_pkg_resources()
    offer_configs()
    allow_history_buffers_in_checkpoints()
    allow_distributed_training_on_cpu()
    separate_restarts()
    when_imported('mmengine.logging.logger', act=keep_bulk_in_the_file)
    when_imported('mmengine.config.config', act=format_configs_once)
    silence_advice()


class _Stubs(MetaPathFinder, Loader):
    """Serves modules of placeholder classes, which say why when they are constructed.

    Args:
        classes: Names of the classes, by the full name of their module.
        reason: Why the real ones cannot be used.
        needed: Whether the stubs are wanted, asked when one of them is imported.
    """

    def __init__(
        self,
        classes: dict[str, Sequence[str]],
        reason: str,
        needed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.classes, self.reason, self.needed = classes, reason, needed

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """A stub's spec for the names this finder serves, else None."""
        if fullname not in self.classes or not self.needed():
            return None
        return ModuleSpec(fullname, self, is_package=True)

    def exec_module(self, module: ModuleType) -> None:
        """Put one placeholder class per name into ``module``."""
        for name in self.classes[module.__name__]:
            members = dict(__init__=partialmethod(_refuse, self.reason), __doc__=self.reason)
            setattr(module, name, type(name, (), members))


def _refuse(self: object, reason: str, *args: object, **kwargs: object) -> None:
    raise ImportError(f'{type(self).__name__} cannot be used: {reason}')


def supply_mmaction_drn() -> None:
    """Supply ``mmaction.models.localizers.drn``, which the wheel of MMAction2 1.2.0 lacks.

    The ``__init__`` of ``localizers`` imports it, so ``import mmaction.models`` fails. The finder
    stands last in line and is asked only if the package is really missing.

    Upstream: https://github.com/open-mmlab/mmaction2/issues/2714. Can go with the first release
    whose wheel contains ``mmaction/models/localizers/drn``.
    """
    base = 'mmaction.models.localizers.drn'
    reason = 'the MMAction2 1.2.0 wheel ships without it (open-mmlab/mmaction2#2714)'
    sys.meta_path.append(_Stubs({base: (), f'{base}.drn': ('DRN',)}, reason))


def replace_mmaction_vindlu() -> None:
    """Keep MMAction2's VindLU out of the import when ``transformers`` is too new for it.

    VindLU imports helpers from ``transformers.modeling_utils`` that moved to
    ``transformers.pytorch_utils``; 4.56 dropped the old names, and ``import mmaction.models`` fails
    wherever ``transformers`` is installed.

    Upstream: MMAction2 has had no release since; the same break in another project is
    https://github.com/xinyu1205/recognize-anything/issues/219. Can go when an MMAction2 release
    imports with the pinned ``transformers``.
    """
    stubs: dict[str, Sequence[str]] = {'mmaction.models.multimodal.vindlu': ()}
    reason = 'it needs transformers < 4.56'
    sys.meta_path.insert(0, _Stubs(stubs, reason, _transformers_breaks_vindlu))


def _transformers_breaks_vindlu() -> bool:
    from importlib import metadata

    from mmengine.utils import digit_version

    try:
        version = metadata.version('transformers')
    except metadata.PackageNotFoundError:
        return False
    return bool(digit_version(version) >= digit_version('4.56.0'))


def find_packages_without_pkg_resources() -> None:
    """Let ``_base_ = 'mmaction::...'`` and ``'mmpretrain::...'`` work with any setuptools.

    MMEngine looks packages up with ``pkg_resources``, which setuptools 82 removed; the standard
    library's ``importlib.metadata`` knows the same.

    Upstream: https://github.com/pypa/setuptools/pull/5007 (removal). Can go with the first MMEngine
    release that does not import ``pkg_resources``.
    """
    # The first defines the two functions; the others hold them if they were imported before us.
    users = ('mmengine.utils', 'mmengine.config.config', 'mmengine.hub.hub')
    for name in ('mmengine.utils.package_utils', *users):
        when_imported(name, act=partial(_replace_look_up, name))


def _replace_look_up(name: str) -> None:
    module = sys.modules[name]
    for function in (is_installed, get_installed_path):
        if hasattr(module, function.__name__):
            setattr(module, function.__name__, function)


def is_installed(package: str) -> bool:
    """Say whether ``package`` (distribution or module name) can be found."""
    from importlib import metadata  # slow to import

    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return _module_path(package) is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the directory of the top-level module of ``package``.

    Args:
        package: Name of a distribution (``mmaction2``) or of a module (``mmaction``).

    Raises:
        ModuleNotFoundError: If neither a distribution nor a module has that name.
        FileNotFoundError: If it is this package, installed without its configs.
    """
    from importlib import metadata

    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        path = _module_path(package)
    else:
        top_level = (distribution.read_text('top_level.txt') or package).split()
        path = _module_path(package) or _module_path(top_level[0])
    if path is None:
        raise ModuleNotFoundError(
            f'{package!r} is not installed; install it with `pip install {package}`'
        )
    if package == OURS and not Path(path, '.mim/configs').is_dir():
        raise FileNotFoundError(
            f'{OURS} in {path} came without its configs ({path}/.mim/configs is no folder): build '
            'the wheel from a whole checkout, in which .mim holds symbolic links, or give '
            f"the path of a config file instead of '{OURS}::...'"
        )
    return path


def _module_path(name: str) -> str | None:
    """Directory of the regular package ``name``, or None if there is none."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
    except ModuleNotFoundError:  # one of ours, see late_imports
        return None
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent)


def offer_configs() -> None:
    """Let ``_base_ = 'nextvid_mm::nextvid/vit-l_4stage.py'`` find the configs of this package.

    MMEngine takes the packages of a fixed table only. It also marks every inherited part with the
    package's scope, and then hands the mark to collate functions as an argument: our configs set
    their scope themselves and are not marked. In a checkout that is not installed they lie beside
    the package.

    Upstream: not reported to our knowledge; seen with MMEngine 0.10.7. Can go with the first
    release that asks any installed package.
    """
    when_imported('mmengine.config.config', act=_offer_configs)


def _offer_configs() -> None:
    from mmengine.config.config import Config
    from mmengine.config.utils import MODULE2PACKAGE

    MODULE2PACKAGE[OURS] = OURS
    original, prefix = Config._get_cfg_path, f'{OURS}::'

    @wraps(original)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        beside = Path(__file__).resolve().parents[1] / 'configs' / cfg_path.removeprefix(prefix)
        if cfg_path.startswith(prefix) and beside.is_file():
            return str(beside), None
        path, scope = original(cfg_path, filename)
        return path, None if scope == OURS else scope

    Config._get_cfg_path = staticmethod(get_cfg_path)


def allow_history_buffers_in_checkpoints() -> None:
    """Let ``torch.load(weights_only=True)`` read back the log history in a Runner's checkpoint.

    MMEngine saves ``HistoryBuffer`` objects, and since torch 2.6 loading refuses every class it was
    not told about. A buffer is two numpy arrays, but it also pickles its methods by way of
    ``getattr``, which must stay forbidden: given ``getattr``, a file can run anything. So the
    methods, which ``__setstate__`` restores anyway, are left out when saving, and only the arrays
    are allowed when loading. Checkpoints written without this work-around stay refused.

    Upstream: https://github.com/open-mmlab/mmengine/issues/1655. Can go when an MMEngine release
    saves plain types.
    """
    both = 'mmengine.logging.history_buffer', 'torch.serialization'
    when_imported(*both, act=_allow_history_buffers)


def _allow_history_buffers() -> None:
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer
    from torch.serialization import add_safe_globals

    HistoryBuffer.__getstate__ = _history_without_methods
    rebuild_array, rebuild_scalar = np.empty(0).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(code)) for code in ('float64', 'float32', 'int64', 'int32', 'bool')]
    add_safe_globals([HistoryBuffer, np.ndarray, np.dtype, rebuild_array, rebuild_scalar, *dtypes])


def _history_without_methods(buffer: HistoryBuffer) -> dict[str, Any]:
    return {key: value for key, value in vars(buffer).items() if key != 'statistics_methods'}


def allow_distributed_training_on_cpu() -> None:
    """Let ``launcher='pytorch'`` run on machines without an accelerator.

    MMEngine selects a CUDA device unconditionally, asks for NCCL by default and hands
    ``device_ids`` to DDP, which refuses them for a module on the CPU. Without an accelerator the
    group uses gloo instead, and the ids of modules on the CPU are dropped.

    Upstream: not reported to our knowledge; seen with MMEngine 0.10.7. Can go when
    ``init_dist('pytorch')`` and ``Runner.wrap_model`` work on a CPU.
    """
    when_imported('mmengine.dist.utils', act=_start_gloo_on_cpu)
    when_imported('mmengine.model.wrappers.distributed', act=_drop_device_ids_on_cpu)


def _start_gloo_on_cpu() -> None:
    import torch
    from mmengine.device import get_device
    from mmengine.dist import utils as module

    original = module._init_dist_pytorch

    @wraps(original)
    def init_dist_pytorch(backend: str, init_backend: str = 'torch', **kwargs: Any) -> None:
        if get_device() in ('cpu', 'mps'):
            backend = 'gloo' if backend == 'nccl' else backend
            torch.distributed.init_process_group(backend, **kwargs)
        else:
            original(backend, init_backend=init_backend, **kwargs)

    module._init_dist_pytorch = init_dist_pytorch


def separate_restarts() -> None:
    """Give each attempt of ``torchrun`` a store of its own.

    With ``--max-restarts`` the agent keeps one store for all: the second attempt finds the
    addresses of the first in it, and fails.

    Upstream: not reported to our knowledge; seen with torch 2.14. Can go when they form a group.
    """
    when_imported('mmengine.dist.utils', act=_separate_restarts)


def _separate_restarts() -> None:
    from mmengine.dist import utils as module

    original = module._init_dist_pytorch

    @wraps(original)
    def init_dist_pytorch(backend: str, *args: Any, **kwargs: Any) -> None:
        original(backend, *args, **kwargs, **_store_of_attempt())

    module._init_dist_pytorch = init_dist_pytorch


def _store_of_attempt() -> dict[str, Any]:
    """Arguments of ``init_process_group`` for a process that was started again."""
    from torch.distributed import PrefixStore, TCPStore

    attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
    if attempt == '0' or os.environ.get('TORCHELASTIC_USE_AGENT_STORE') != 'True':
        return {}
    rank, size, port = (int(os.environ[n]) for n in ('RANK', 'WORLD_SIZE', 'MASTER_PORT'))
    whole = TCPStore(os.environ['MASTER_ADDR'], port, size, is_master=False)
    return dict(store=PrefixStore(f'attempt_{attempt}', whole), rank=rank, world_size=size)


def _drop_device_ids_on_cpu() -> None:
    from mmengine.model.wrappers.distributed import MMDistributedDataParallel

    original = MMDistributedDataParallel.__init__

    @wraps(original)
    def init(self: nn.Module, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if all(p.device.type == 'cpu' for p in module.parameters()):
            kwargs['device_ids'] = None
            # Otherwise the second step after a start sorts the gradients anew for their reduction.
            kwargs['find_unused_parameters'] = True
        original(self, module, *args, **kwargs)

    MMDistributedDataParallel.__init__ = init
