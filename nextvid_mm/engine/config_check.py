"""Finds config keys that nobody would read.

Components refuse unknown arguments themselves. The Runner does not: ``train_dataloder = dict(...)``
at the top level of a config is dropped without a word, and so are unknown keys of a few nested
settings. The check knows two kinds of legitimate top-level names: keys the Runner reads, and helper
variables, recognised by being used somewhere in the config or the files it inherits from.
"""

import ast
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

_ENVIRONMENT = re.compile(r'\{\{\s*\$(\w+)\s*:\s*(\S*?)\s*\}\}')

# Read by the Runner, or by tools before it exists, without being arguments of its constructor.
_READ_ELSEWHERE = {
    'activation_checkpointing',
    'compile',
    'custom_imports',
    'efficient_conv_bn_eval',
    'env_cfg',
    'find_unused_parameters',
    'model_wrapper_cfg',
    'runner_type',
    'strategy',
    'sync_bn',
}
RUNNER_KEYS = frozenset(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'} | (
    _READ_ELSEWHERE
)

_NESTED_KEYS = {
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
}


def check_config(
    cfg: Mapping[str, Any], filename: str | None = None, options: Iterable[str] = ()
) -> None:
    """Raise if a key of the config has no reader.

    Args:
        cfg: The complete config.
        filename: Its file; the files it inherits from are followed. Those of other libraries
            (``mmaction::...``) may hold names that nothing uses.
        options: Dotted keys given on the command line.

    Raises:
        ValueError: With the key, the file it is in, and the key that was probably meant.
    """
    helpers: set[str] = set()
    if filename is not None and filename.endswith('.py'):
        files = list(_inheritance(Path(filename)))
        used = set().union(*(names for _, _, names in files))
        for path, assigned, _ in files:
            helpers |= assigned
            for key in sorted(assigned - RUNNER_KEYS - used):
                raise ValueError(f'{path}: {_unknown(key, RUNNER_KEYS)}')
    for option in options:
        key = option.partition('.')[0]
        if key not in RUNNER_KEYS | helpers:
            raise ValueError(f'--cfg-options {option}: {_unknown(key, RUNNER_KEYS | helpers)}')
    for parent, allowed in _NESTED_KEYS.items():
        for key in cfg.get(parent) or {}:
            if key not in allowed:
                raise ValueError(f'config key {parent}: {_unknown(key, allowed)}')


def _unknown(key: str, allowed: Iterable[str]) -> str:
    close = get_close_matches(key, allowed, n=1)
    fix = f'Did you mean {close[0]!r}?' if close else f'Known: {", ".join(sorted(allowed))}.'
    return f'nothing reads the key {key!r}. {fix}'


def _inheritance(path: Path) -> Iterator[tuple[Path, set[str], set[str]]]:
    """Yield (file, top-level names it assigns, names it uses) of a config and its bases."""
    tree = ast.parse(path.read_text(encoding='utf-8'), filename=str(path))
    yield path, _assigned(tree), _used(tree)
    for base in _bases(tree):
        if '::' not in base:
            yield from _inheritance(path.parent / base)


def _assigned(tree: ast.Module) -> set[str]:
    statements = [node for node in tree.body if isinstance(node, ast.Assign)]
    names = {
        name.id
        for statement in statements
        for target in statement.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
    return names - {'_base_'}


def _used(tree: ast.Module) -> set[str]:
    """Names read anywhere, also as ``_base_.name``; ``del name`` counts as a reader."""
    names = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store)
    }
    attributes = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == '_base_'
    }
    return names | attributes


def _bases(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '_base_':
            value = ast.literal_eval(node.value)
            return [_fill(base) for base in ([value] if isinstance(value, str) else value)]
    return []


def _fill(base: str) -> str:
    """Put environment variables in, as MMEngine does: ``{{$NAME:default}}``."""
    return _ENVIRONMENT.sub(lambda found: os.environ.get(found[1], found[2]), base)
