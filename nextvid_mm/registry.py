"""Registries of the scope ``nextvid_mm``: one child for every root registry of MMEngine.

A child is needed even where this project registers nothing: a config with
``default_scope='nextvid_mm'`` looks up ``DefaultSampler`` or ``IterTimerHook`` in the child first
and then climbs to MMEngine's root. ``locations`` name the packages that are imported on the first
look-up, so that importing :mod:`nextvid_mm` stays cheap and a config needs no list of modules.

Components of the sibling libraries are reached by their prefix (``mmaction.VideoDataset``,
``mmpretrain.MAEViT``), in the same config and the same process.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from mmengine import registry as _root
from mmengine.registry import Registry

if TYPE_CHECKING:  # every command line waits for this file
    from mmengine.config import Config
    from mmengine.runner import Runner
    from torch import nn

SCOPE = 'nextvid_mm'
_LIBRARIES = ('mmengine', 'mmaction', 'mmpretrain', SCOPE)


class OwnRegistry(Registry):
    """Builds what is registered here in this scope, whatever scope a sibling library has set.

    After ``mmaction.apis.init_recognizer`` the current scope is MMAction2's, and MMEngine would
    look there for a ``CausalViT``.
    """

    def build(self, cfg: Any, *args: Any, **kwargs: Any) -> Any:
        """As MMEngine's; components of other libraries keep the current scope."""
        kind = cfg.get('type') if isinstance(cfg, dict) else None
        if isinstance(kind, str) and '_scope_' not in cfg and _imported(self, kind):
            cfg = cfg.copy()
            cfg['_scope_'] = SCOPE
        return super().build(cfg, *args, **kwargs)


def _child(parent: Registry, *packages: str) -> Registry:
    """Create the child of ``parent`` in this project's scope, filled by some of its packages."""
    locations = [f'{SCOPE}.{package}' for package in packages]
    return OwnRegistry(parent.name, parent=parent, scope=SCOPE, locations=locations)


RUNNERS = _child(_root.RUNNERS, 'engine')
RUNNER_CONSTRUCTORS = _child(_root.RUNNER_CONSTRUCTORS, 'engine')
LOOPS = _child(_root.LOOPS, 'engine')
HOOKS = _child(_root.HOOKS, 'engine', 'visualization', 'goodput')
STRATEGIES = _child(_root.STRATEGIES, 'engine')
LOG_PROCESSORS = _child(_root.LOG_PROCESSORS, 'engine')
OPTIMIZERS = _child(_root.OPTIMIZERS, 'engine')
OPTIM_WRAPPERS = _child(_root.OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(_root.OPTIM_WRAPPER_CONSTRUCTORS, 'engine')
PARAM_SCHEDULERS = _child(_root.PARAM_SCHEDULERS, 'engine')

DATASETS = _child(_root.DATASETS, 'datasets')
DATA_SAMPLERS = _child(_root.DATA_SAMPLERS, 'datasets')
TRANSFORMS = _child(_root.TRANSFORMS, 'datasets')

MODELS = _child(_root.MODELS, 'models')
MODEL_WRAPPERS = _child(_root.MODEL_WRAPPERS, 'models')
WEIGHT_INITIALIZERS = _child(_root.WEIGHT_INITIALIZERS, 'models')
TASK_UTILS = _child(_root.TASK_UTILS, 'models')

METRICS = _child(_root.METRICS, 'evaluation', 'engine')
EVALUATOR = _child(_root.EVALUATOR, 'evaluation', 'engine')

VISUALIZERS = _child(_root.VISUALIZERS, 'visualization')
VISBACKENDS = _child(_root.VISBACKENDS, 'visualization')

INFERENCERS = _child(_root.INFERENCERS, 'inferencers')
FUNCTIONS = _child(_root.FUNCTIONS, 'datasets')


def unwrap(model: nn.Module) -> nn.Module:
    """A model without the wrapper of distributed training (MMEngine's ``MODEL_WRAPPERS``)."""
    from mmengine.model import is_model_wrapper  # here, because it costs a second

    return model.module if is_model_wrapper(model) else model


def build_runner(cfg: Config) -> Runner:
    """The config's Runner, or the one that its ``runner_type`` names."""
    from mmengine.runner import Runner

    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def require_registered(config: Any, source: str) -> None:
    """Raise unless everything that a config read from a file would build is registered.

    MMEngine imports and calls any dotted name given as ``type``: right for the user's own config,
    but a config inside a checkpoint or record is data.

    Args:
        config: the config, or any part of it.
        source: where it was read from, for the message.

    Raises:
        ValueError: with the name and where it was found.
    """
    if isinstance(config, dict):
        for key in ('type', 'constructor', 'runner_type'):
            kind = config.get(key)
            if isinstance(kind, str) and not _is_registered(kind):
                raise ValueError(
                    f'{source}: {key}={kind!r} in its config is no registered component; a config '
                    'in a file is data and may name nothing else. If it is from a plugin, import '
                    'the plugin first'
                )
        for key in ('default_scope', '_scope_'):
            if config.get(key) not in (None, *_LIBRARIES, *_root.MODELS.children):
                raise ValueError(
                    f'{source}: {key}={config[key]!r} in its config is no scope that is imported'
                )
        config = config.values()
    elif not isinstance(config, list | tuple):
        return
    for entry in config:
        require_registered(entry, source)


def _is_registered(kind: str) -> bool:
    """Whether a registry holds ``name`` or ``scope.name``; nothing else is imported."""
    scope, _, name = kind.rpartition('.')
    if not scope and name and find_spec(name) is None:
        return True  # not a dotted name and not that of a module: there is nothing to call
    if scope in ('mmaction', 'mmpretrain'):
        import_module(f'{scope}.registry')
    roots = [entry for entry in vars(_root).values() if isinstance(entry, Registry)]
    roots.sort(key=lambda root: root is not _root.MODELS)  # the one most often asked
    found = [
        registry
        for root in roots
        for registry in (root, *root.children.values())
        if scope in ('', registry.scope)
    ]
    return any(name in registry.module_dict for registry in found) or any(
        _imported(registry, name) for registry in found
    )


def _imported(registry: Registry, name: str) -> bool:
    with suppress(ImportError):  # MMAction2 names a location that does not exist
        registry.import_from_location()
    return name in registry.module_dict


__all__ = [
    'DATASETS',
    'DATA_SAMPLERS',
    'EVALUATOR',
    'FUNCTIONS',
    'HOOKS',
    'INFERENCERS',
    'LOG_PROCESSORS',
    'LOOPS',
    'METRICS',
    'MODELS',
    'MODEL_WRAPPERS',
    'OPTIMIZERS',
    'OPTIM_WRAPPERS',
    'OPTIM_WRAPPER_CONSTRUCTORS',
    'PARAM_SCHEDULERS',
    'RUNNERS',
    'RUNNER_CONSTRUCTORS',
    'SCOPE',
    'STRATEGIES',
    'TASK_UTILS',
    'TRANSFORMS',
    'VISBACKENDS',
    'VISUALIZERS',
    'WEIGHT_INITIALIZERS',
    'build_runner',
    'require_registered',
    'unwrap',
]
