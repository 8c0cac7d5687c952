"""Holds every part of a config against what would be built from it, before anything is imported.

Each dict with a ``type`` is compared with the arguments of that component
(:mod:`nextvid_mm.signatures`): unknown and missing keys, and simple types that do not fit. Dicts
without ``type`` that a component reads key by key stand in :data:`NESTED`. Numbers of which some
values make no sense stand in :data:`LIMITS`, settings that contradict each other in
:mod:`nextvid_mm.config_rules`.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from nextvid_mm.checks import meant
from nextvid_mm.config_rules import RULES, Problem
from nextvid_mm.signatures import OURS, Signature, candidates, is_alias, signature

# Keys that whoever builds a component takes out of its config, or adds to it, by place.
_TAKEN = (
    (re.compile(r'(default|custom)_hooks(\.\w+|\[\d+\])'), {'priority'}),
    (re.compile(r'param_scheduler(\[\d+\])?'), {'convert_to_iter_based'}),
    (re.compile(r'optim_wrapper'), {'constructor', 'paramwise_cfg', 'optimizer', 'clip_grad'}),
    (re.compile(r'train_cfg'), {'by_epoch'}),
    # LabelledDataset hands its own pipeline down.
    (re.compile(r'\w+_dataloader\.dataset\.dataset'), {'pipeline'}),
)
_EVERYWHERE = {'type', '_scope_', '_delete_', 'init_cfg'}
_SUPPLIED = {
    *('runner', 'dataloader', 'evaluator', 'optimizer', 'params', 'dataset', 'sampler', 'samples'),
    *('optim_wrapper_cfg', 'model', 'module', 'save_dir', 'param_name', 'seed', 'backbone'),
    *('in_channels', 'lrs', 'weight_decays'),
}
# What is built where a dict names no type.
_DEFAULT_TYPES = {
    'optim_wrapper': 'OptimWrapper',
    'log_processor': 'LogProcessor',
    'visualizer': 'Visualizer',
}
_LOADER = 'dataset sampler batch_sampler batch_size num_workers collate_fn worker_init_fn'
_LOADER += ' pin_memory drop_last timeout prefetch_factor persistent_workers num_batch_per_epoch'
_LOADER += ' generator multiprocessing_context pin_memory_device disable_subprocess_warning'
_LOADER += ' in_order shuffle'
_GROUP = 'backend timeout init_method world_size rank store group_name pg_options device_id port'
_GROUP += ' init_backend'

NESTED: dict[str, frozenset[str]] = {
    name: frozenset(keys.split())
    for name, keys in {
        'train_dataloader': _LOADER,
        'val_dataloader': _LOADER,
        'test_dataloader': _LOADER,
        'env_cfg': 'cudnn_benchmark mp_cfg dist_cfg resource_limit',
        'env_cfg.mp_cfg': 'mp_start_method opencv_num_threads',
        'env_cfg.dist_cfg': _GROUP,
        'auto_scale_lr': 'enable base_batch_size',
        'randomness': 'seed diff_rank_seed deterministic',
        'MixtureDataset.sources': 'name weight dataset check_files',
        'CachedMixtureDataset.sources': 'name weight dataset check_files',
        'FrameIsolatedMasking.strategies': 'num_blocks scale aspect_ratio num_visible',
        'AutocastOptimWrapper.clip_grad': 'max_norm norm_type',
        'CausalViT.arch': 'embed_dims depth num_heads mlp_ratio',
    }.items()
}
"""Keys of dicts without a type, by path or by component and argument."""

# What their owner builds, of this type by default.
_PARTS = {'FlowMatchingHead.decoder': 'FrameDiT', 'StageTrainLoop.stages': 'Stage'}


class Limit(NamedTuple):
    """Which numbers make sense under some keys: a test, and what it asks for in words."""

    keys: re.Pattern[str]
    holds: Callable[[Any], bool]
    words: str


LIMITS = (
    Limit(
        re.compile(
            r'(img_size|patch_size|tubelet_size|embed_dims|depth|num_heads|num_frames|steps|'
            r'micro_batch_size|batch_size|tau_samples|frame_interval|stride|num_clips|clip_len|'
            r'prefetch_factor|in_channels|out_channels|target_channels|condition_channels|pool|'
            r'window_size|num_classes|max_nonfinite|val_interval|max_epochs|max_iters)'
        ),
        lambda value: value >= 1,
        'must be at least 1',
    ),
    Limit(
        re.compile(r'(max_norm|fps|mlp_ratio|T_max)'),
        lambda value: value > 0,
        'must be larger than 0',
    ),
    Limit(
        re.compile(r'(lr|lrs|flow_lr|weight_decay|weight|loss_weight|num_workers|max_refetch)'),
        lambda value: value >= 0,
        'must not be negative',
    ),
    Limit(
        re.compile(r'(interval|max_keep_ckpts)'),
        lambda value: value >= 1 or value == -1,
        'must be at least 1, or -1 for never (checkpoints kept: all)',
    ),
    Limit(
        re.compile(r'(ema_momentum|drop_path_rate|dropout|flip_ratio|prob)'),
        lambda value: 0 <= value <= 1,
        'must lie between 0 and 1',
    ),
)


def problems(cfg: Mapping[str, Any], runner: Mapping[str, ast.expr | None]) -> Iterator[Problem]:
    """Everything that is wrong with a config and can be told without building it.

    Args:
        cfg: the complete config.
        runner: the Runner's arguments with their annotations.
    """
    cfg = dict(cfg.items())  # MMEngine's Config is no Mapping
    told = set()
    for problem in (found for rule in RULES for found in rule(cfg)):
        told.add(problem.path)
        yield problem
    scope = str(cfg.get('default_scope') or OURS)
    imports = tuple((cfg.get('custom_imports') or {}).get('imports') or ())
    imports = (imports,) if isinstance(imports, str) else imports
    plugins = tuple(name.partition('.')[0] for name in imports if not str(name).startswith(OURS))
    walk = _Walk(scope, plugins)
    for key in [key for key in runner if key in cfg]:
        for problem in (*_misfit(key, cfg[key], runner[key]), *walk(cfg[key], key)):
            if problem.path not in told:
                yield problem


class _Walk:
    """Goes through a config.

    Args:
        scope: of types without one.
        plugins: packages whose components may be meant, too.
    """

    def __init__(self, scope: str, plugins: tuple[str, ...]) -> None:
        self.scope, self.plugins = scope, plugins

    def __call__(self, node: Any, path: str, owner: str = '') -> Iterator[Problem]:
        """Problems of ``node`` at ``path``, which is the argument ``owner`` of its component."""
        if isinstance(node, list | tuple):
            for place, entry in enumerate(node):
                yield from self(entry, f'{path}[{place}]', owner)
        if not isinstance(node, Mapping):
            return
        known = NESTED.get(owner) or NESTED.get(path)
        kind = node.get('type') or _PARTS.get(owner) or _DEFAULT_TYPES.get(path)
        if known is not None and 'type' not in node:
            yield from _unknown(node, path, known)
            yield from _outside(node, path)
        elif isinstance(kind, str):
            yield from self._component(node, path, kind)
            return
        elif path.startswith('default_hooks.') and kind is None:
            name = path.partition('.')[2]
            hint = meant(name, _HOOKS)
            yield Problem(path, f"this hook has no type. {hint} Or give it type='...'")
        for key, value in node.items():
            yield from self(value, f'{path}.{key}')

    def _component(self, node: Mapping[str, Any], path: str, kind: str) -> Iterator[Problem]:
        scope = str(node.get('_scope_') or self.scope)
        found = signature(kind, scope, self.plugins)
        if found is None:
            yield from self._unregistered(path, kind, scope)
            found = Signature(kind, Path(), open=True)
        taken = _EVERYWHERE.union(*(keys for place, keys in _TAKEN if place.fullmatch(path)))
        if not found.open:
            yield from _unknown(node, path, set(found.arguments) | taken, found.name)
            lacking = sorted(found.required - set(node) - _SUPPLIED - taken)
            if lacking and found.file.is_relative_to(Path(__file__).parent):
                yield Problem(path, f'{found.name} needs the key {lacking[0]!r}')
        for key, value in node.items():
            yield from _misfit(f'{path}.{key}', value, found.arguments.get(str(key)))
            yield from self(value, f'{path}.{key}', f'{found.name}.{key}')
        yield from _outside(node, path)

    def _unregistered(self, path: str, kind: str, scope: str) -> Iterator[Problem]:
        name = kind.rpartition('.')[2]
        if self.plugins or '.' in kind.removesuffix(name)[:-1] or is_alias(name, scope):
            return
        text = meant(kind, candidates(kind, scope))
        if text.startswith('Did you mean'):  # else it may come from where nobody can look
            yield Problem(f'{path}.type', f'there is no {kind!r}. {text}')


_HOOKS = ('runtime_info', 'timer', 'logger', 'param_scheduler', 'checkpoint', 'sampler_seed')


def _unknown(
    node: Mapping[str, Any], path: str, known: set[str] | frozenset[str], name: str = ''
) -> Iterator[Problem]:
    supplied = (_SUPPLIED - {'dataset'}) | {'init_cfg'} if name else set()
    allowed = sorted(known - {'_scope_', '_delete_'} - supplied)
    for key in node:
        if key not in known and not str(key).startswith('_'):
            of = f' of {name}' if name else ''
            yield Problem(
                f'{path}.{key}', f'nothing reads the key {key!r}{of}. {meant(str(key), allowed)}'
            )


def _outside(node: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Numbers that make no sense."""
    for key, value in node.items():
        values = value if isinstance(value, list | tuple) else [value]
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        for limit in LIMITS:
            if limit.keys.fullmatch(str(key)):
                if any(not math.isfinite(number) for number in numbers):
                    yield Problem(f'{path}.{key}', f'found {value!r}, which is no finite number')
                elif not all(map(limit.holds, numbers)):
                    if key == 'num_classes' and value == -1:
                        continue
                    yield Problem(f'{path}.{key}', f'found {value!r}, which {limit.words}')


_PLAIN: dict[str, tuple[type, ...]] = {
    'int': (int,),
    'float': (int, float),
    'str': (str,),
    'bool': (bool,),
    'None': (type(None),),
}


def _misfit(path: str, value: Any, annotation: ast.expr | None) -> Iterator[Problem]:
    """A value whose type is not one of its simple annotation."""
    kinds = _kinds(annotation)
    if kinds is None or value is None:
        return
    allowed = tuple(kind for name in kinds for kind in _PLAIN[name])
    right = isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed)
    if not right:
        words = ' or '.join(name for name in kinds if name != 'None')
        hint = ''
        if isinstance(value, list | tuple) and 'str' in kinds:
            key = path.split('.')[-1]
            hint = f'; a text with a comma is quoted twice: {key}=\'"a,b"\''
        yield Problem(path, f'found {value!r}, where {words} is needed{hint}')


def _kinds(node: ast.expr | None) -> list[str] | None:
    """Names of simple types in an annotation; None if it holds anything else."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _kinds(ast.parse(node.value, mode='eval').body)
        return ['None'] if node.value is None else None
    if isinstance(node, ast.Name):
        return [node.id] if node.id in _PLAIN else None
    if isinstance(node, ast.BinOp):
        parts = [_kinds(node.left), _kinds(node.right)]
    elif isinstance(node, ast.Subscript) and getattr(node.value, 'id', '') in ('Optional', 'Union'):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        parts = [_kinds(part) for part in inner]
    else:
        return None
    return None if None in parts else [name for part in parts for name in part or ()]
