"""Finds a config, reads it, and finds keys in it that nobody would read.

Components refuse unknown arguments themselves. The Runner does not: ``train_dataloder = dict(...)``
at the top level of a config is dropped without a word, and so are unknown keys of a few nested
settings. The check knows two kinds of legitimate top-level names: keys the Runner reads, and helper
variables, recognised by being used somewhere in the config or the files it inherits from.

A mistake is told at once: names are checked before MMEngine is imported, and never with PyTorch.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextvid_mm.checks import meant
from nextvid_mm.config_checks import Problem, problems

if TYPE_CHECKING:
    from mmengine.config import Config

_OURS = 'nextvid_mm::'
_ENVIRONMENT = re.compile(r'\{\{\s*\$(\w+)\s*:\s*(\S*?)\s*\}\}')

# Read by the Runner, or by tools (MMAction2's inference, too), without being arguments of its
# constructor.
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
    'test_pipeline',
}


def project_folder() -> Path:
    """The folder with ``configs/`` and ``tools/``: the checkout, or what the wheel brings along."""
    package = Path(__file__).resolve().parent
    checkout = package.parent
    return checkout if (checkout / 'configs' / 'nextvid').is_dir() else package / '.mim'


def home_folder() -> Path:
    """Where the demo keeps ``data/`` and ``work_dirs/``: the checkout, else the current folder."""
    project = project_folder()
    return Path.cwd() if project.name == '.mim' else project


def find_config(path: str | Path) -> Path:
    """Find a config from anywhere.

    Args:
        path: A file; or one of this project's, with or without ``configs/`` at its beginning.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    project = project_folder()
    for found in (Path(path), project / path, project / 'configs' / path):
        if found.is_file():
            return found
    raise FileNotFoundError(f'config file {path} does not exist; see {project / "configs"}')


def checked_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, apply ``--cfg-options`` and check that every key has a reader.

    Args:
        path: As for :func:`find_config`.
        options: Values by dotted key.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a key is unknown.
    """
    file = str(find_config(path))
    check_file(file)

    from mmengine.config import Config

    cfg = Config.fromfile(file)
    cfg.merge_from_dict(dict(options or {}))
    check_config(cfg, file, options or ())
    return cfg


@cache
def runner_arguments() -> dict[str, ast.expr | None]:
    """Arguments of the Runner with their annotations.

    They are taken from its source, which takes a moment; importing it takes seconds.
    """
    spec = importlib.util.find_spec('mmengine')
    folders = spec.submodule_search_locations if spec is not None else None
    source = Path(folders[0] if folders else '') / 'runner' / 'runner.py'
    tree = ast.parse(source.read_text(encoding='utf-8'), filename=str(source))
    runner = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == 'Runner')
    init = next(n for n in runner.body if getattr(n, 'name', '') == '__init__')
    assert isinstance(init, ast.FunctionDef)
    arguments = [*init.args.args, *init.args.kwonlyargs]
    return {one.arg: one.annotation for one in arguments if one.arg not in ('self', 'cfg')}


@cache
def runner_keys() -> frozenset[str]:
    """Top-level keys that have a reader: arguments of the Runner, and what is read elsewhere."""
    return frozenset(set(runner_arguments()) | _READ_ELSEWHERE)


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
    known = runner_keys() | (set() if filename is None else check_file(filename))
    for option in options:
        key = option.partition('.')[0]
        if key not in known:
            raise ValueError(f'--cfg-options {option}: {_unknown(key, known)}')
    read = {**runner_arguments(), **dict.fromkeys(_READ_ELSEWHERE)}
    found = list(problems(cfg, read))
    if found:
        first, more = found[0], len(found) - 1
        also = f' ({more} more of this kind: {found[1].path})' if more else ''
        raise ValueError(f'{set_where(first, filename, options)} {first.path}: {first.text}{also}')


def set_where(problem: Problem, filename: str | None, options: Iterable[str]) -> str:
    """The flag, or file and line, that set the key of a problem; begins the message."""
    dotted = re.sub(r'\[(\d+)\]', r'.\1', problem.path)
    for option in options:
        if f'{dotted}.'.startswith(f'{option}.') or f'{option}.'.startswith(f'{dotted}.'):
            return '--cfg-options'
    if filename is None or not filename.endswith('.py'):
        return f'{filename}:' if filename else 'config key'
    for path in _files_of(Path(filename)):
        text = path.read_text(encoding='utf-8')
        lines = sorted(
            line
            for node in ast.walk(ast.parse(text))
            for name, line in _keys_of(node)
            if name == problem.key
        )
        if lines:
            return f'{path}:{lines[0]}:'
    return f'{filename}:'


def _files_of(path: Path) -> list[Path]:
    return [file for file, _, _ in _inheritance(path)]


def _keys_of(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Names of keys that a node of a config's source sets, with their lines."""
    if isinstance(node, ast.Call):
        yield from ((word.arg, word.value.lineno) for word in node.keywords if word.arg)
    elif isinstance(node, ast.Dict):
        yield from (
            (str(key.value), key.lineno) for key in node.keys if isinstance(key, ast.Constant)
        )
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno


def check_file(filename: str) -> set[str]:
    """Raise if a top-level key of a Python config, or of a file it inherits from, has no reader.

    Returns:
        All names that these files assign.

    Raises:
        ValueError: As of :func:`check_config`.
    """
    if not filename.endswith('.py'):
        return set()
    files = list(_inheritance(Path(filename)))
    used = set().union(*(names for _, _, names in files))
    for path, assigned, _ in files:
        for key in sorted(assigned - runner_keys() - used):
            raise ValueError(f'{path}: {_unknown(key, runner_keys())}')
    return set().union(*(assigned for _, assigned, _ in files))


def _unknown(key: str, allowed: Iterable[str]) -> str:
    return f'nothing reads the key {key!r}. {meant(key, allowed)}'


def _inheritance(path: Path) -> Iterator[tuple[Path, set[str], set[str]]]:
    """Yield (file, top-level names it assigns, names it uses) of a config and its bases."""
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'), filename=str(path))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = getattr(error, 'lineno', 0)
        raise ValueError(f'{path}:{line}: is no Python: {error.args[0]}') from error
    yield path, _assigned(tree), _used(tree)
    for base in _bases(tree):
        file = path.parent / base
        if base.startswith(_OURS):
            file = project_folder() / 'configs' / base.removeprefix(_OURS)
        if '::' not in base or file.is_file():  # MMEngine says what is wrong with a missing one
            yield from _inheritance(file)


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
    """Names read anywhere, also as ``_base_.name``; ``del name`` counts as a reader.

    In what MMEngine writes into a work directory, nothing uses helpers any more. A run has checked
    them: all names count as read.
    """
    written = [getattr(getattr(node, 'targets', [None])[0], 'id', '') for node in tree.body]
    if written == sorted(written) and 'work_dir' in written and '_base_' not in written:
        return set(written)
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
