"""Configs inside files are data: their text is read as literals and never run."""

from __future__ import annotations

import ast
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from mmengine.config import Config


def read_config(path: str | Path) -> Config:
    """Read a complete config as MMEngine writes it into a work directory.

    Whoever builds a part of it asks ``require_registered`` first.

    Raises:
        ValueError: if it holds code.
    """
    return Config(parse_config(Path(path).read_text(encoding='utf-8'), str(path)))


def parse_config(text: str, source: str, names: Container[str] | None = None) -> dict[str, Any]:
    """Top-level keys of a config's text, by name.

    Args:
        text: assignments of literals and ``dict(...)``.
        source: where it is from, for the message.
        names: keys that are wanted, whatever else the text holds; None for all.

    Raises:
        ValueError: with the line that is no such assignment.
    """
    if not isinstance(text, str):
        raise ValueError(f'{source}: its config is no text but {type(text).__name__}')
    found = {}
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ValueError(f'{source}: its config, line {error.lineno}, is no config') from error
    except (ValueError, RecursionError, MemoryError) as error:  # zero bytes, thousands of brackets
        raise ValueError(f'{source}: its config is no config') from error
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        name = getattr(target, 'id', None)
        if names is not None and (name is None or name not in names):
            continue
        try:
            if name is None:
                raise ValueError
            found[name] = _literal(node.value)  # type: ignore[attr-defined]
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f'{source}: its config, line {node.lineno}, is code '
                f'({ast.unparse(node)[:60]!r}); a config in a file is data and never run'
            ) from error
    return found


def config_text(config: Config) -> str:
    """A config as ``parse_config`` reads it: exactly, with tuples and numbers as keys."""
    return ''.join(f'{key} = {value!r}\n' for key, value in config.to_dict().items())


def json_object(text: str | bytes, what: str) -> dict[str, Any]:
    """Read JSON that is an object.

    Raises:
        ValueError: if it is none; ``what`` begins the message.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{what} is no JSON: {error}') from error
    if not isinstance(found, dict):
        raise ValueError(f'{what} holds a {type(found).__name__}, expected an object')
    return found


def plain_config(value: Any) -> Any:
    """A config without MMEngine's types, tuples as lists: what checkpoints and JSON can hold."""
    if isinstance(value, dict):
        return {key: plain_config(entry) for key, entry in value.items() if key != '_scope_'}
    return [plain_config(entry) for entry in value] if isinstance(value, list | tuple) else value


def _literal(node: ast.expr) -> Any:
    """Literals, and the ``dict(...)`` calls MMEngine writes instead of braces."""
    if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'dict':
        values = {key: value for entry in node.args for key, value in _literal(entry).items()}
        return values | {str(k.arg): _literal(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, ast.List):
        return [_literal(entry) for entry in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(entry) for entry in node.elts)
    return ast.literal_eval(node)
