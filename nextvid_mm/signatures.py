"""Arguments of a registered component, read from its source: nothing is imported.

Importing PyTorch and the OpenMMLab libraries takes seconds; a misspelt key should be told at once.
A name as a config has it (``CausalViT``, ``mmaction.Resize``) is looked for in the source of the
package that its scope names, then where the registries climb to. Where a constructor hands its
``**kwargs`` on to its base class, the base is followed; where it does anything else with them,
every key is allowed.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

OURS = 'nextvid_mm'
LIBRARIES = (OURS, 'mmengine', 'mmcv', 'mmaction', 'mmpretrain')
# Where registries climb to, and what they hold beside their own: torch's optimisers.
_ROOTS = ('mmengine', 'mmcv', 'torch/optim')
# MMEngine's own sinks: what they do with `**kwargs` no config can use.
_CLOSED = {'CheckpointHook', 'Module', 'object', 'ABC', 'Dataset', 'Hook'}


@dataclass(frozen=True)
class Signature:
    """What a component can be given.

    Attributes:
        name: of the class or function.
        file: where it is defined.
        arguments: annotation (None: has none) by name of an argument.
        required: arguments without default.
        open: whether any other key is taken, too.
    """

    name: str
    file: Path
    arguments: Mapping[str, ast.expr | None] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    open: bool = False


@cache
def sources(package: str) -> dict[Path, str]:
    """Text of every file of a package (``mmengine``) or of a part (``torch/optim``)."""
    top, *below = package.split('/')
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return {}
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    found = {}
    for place in places:
        for path in sorted(Path(place, *below).rglob('*.py')):
            if '.mim' not in path.parts:
                found[path] = path.read_text(encoding='utf-8', errors='replace')
    return found


@cache
def registered_names(package: str) -> frozenset[str]:
    """Classes and functions of a package that stand right below a ``register_module``.

    MMEngine registers torch's optimisers without it.
    """
    if package == 'torch/optim':
        texts = sources(package).values()
        return frozenset(n for text in texts for n in re.findall(r'^class ([A-Z]\w+)', text, re.M))
    pattern = re.compile(r'^@.*register_module\([^\n]*\n(?:@[^\n]*\n)*(?:class|def) (\w+)', re.M)
    return frozenset(name for text in sources(package).values() for name in pattern.findall(text))


def signature(kind: str, scope: str = OURS, extra: Iterable[str] = ()) -> Signature | None:
    """What the component that a config calls ``kind`` can be given; None if it is not found.

    Args:
        kind: ``type`` of a config: a name, with or without its scope, or the dotted name of a
            module's member.
        scope: scope of names without one.
        extra: further packages to look in: those of ``custom_imports``.
    """
    return _signature(kind, scope, tuple(extra))


@cache
def _signature(kind: str, scope: str, extra: tuple[str, ...]) -> Signature | None:
    prefix, _, name = kind.rpartition('.')
    if prefix and prefix not in LIBRARIES:
        return _member(prefix, name)
    for package in dict.fromkeys((prefix or scope, *_ROOTS, *extra)):
        found = [_read(node, path, package) for path, node in _definitions(package, name)]
        if found:
            return _union(found)
    return None


def candidates(kind: str, scope: str = OURS) -> list[str]:
    """Names that ``kind`` could have meant, with their scope if it has one."""
    prefix = kind.rpartition('.')[0]
    names = {n for package in (prefix or scope, *_ROOTS) for n in registered_names(package)}
    return sorted(f'{prefix}.{name}' if prefix else name for name in names)


def is_alias(name: str, scope: str = OURS) -> bool:
    """Whether a library registers something under this name that is defined under another."""
    quoted = (f"'{name}'", f'"{name}"')
    packages = dict.fromkeys((scope, *_ROOTS))
    return any(word in text for p in packages for text in sources(p).values() for word in quoted)


def _member(module: str, name: str) -> Signature | None:
    top = module.partition('.')[0]
    for path, node in _definitions(top, name):
        parts = path.with_suffix('').parts
        if '.'.join(parts).endswith((module, f'{module}.__init__')) or module == top:
            return _read(node, path, top)
    return None


def _definitions(package: str, name: str) -> list[tuple[Path, ast.stmt]]:
    """What is defined or registered as ``name`` in a package; if several, what is registered."""
    word = re.escape(name)
    start = re.compile(rf'^(?:class|def) {word}\b|register_module\([^)]*[\'"]{word}[\'"]', re.M)
    found = [
        (path, node)
        for path, text in sources(package).items()
        if name in text and start.search(text)
        for node in _tree(path).body
        if getattr(node, 'name', None) == name or f"value='{name}'" in _marks(node)
    ]
    marked = [one for one in found if 'register_module' in _marks(one[1])]
    return marked or found[:1]


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8', errors='replace'), filename=str(path))


def _marks(node: ast.stmt) -> str:
    """The decorators of a definition."""
    return ' '.join(ast.dump(mark) for mark in getattr(node, 'decorator_list', ()))


def _read(node: ast.stmt, path: Path, package: str, depth: int = 0) -> Signature:
    if isinstance(node, ast.FunctionDef):
        return _of_function(node, path, skip=0)
    assert isinstance(node, ast.ClassDef)
    if _is_dataclass(node):
        return _of_fields(node, path)
    init = next((n for n in node.body if getattr(n, 'name', '') == '__init__'), None)
    if isinstance(init, ast.FunctionDef):
        own = _of_function(init, path, skip=1)
        if node.name in _CLOSED:
            return Signature(node.name, path, own.arguments, own.required, False)
        if not own.open or not _hands_on(init):
            return Signature(node.name, path, own.arguments, own.required, own.open)
        inherited = _of_bases(node, path, package, depth)
        arguments = {**inherited.arguments, **own.arguments}
        given = _passed(init, inherited.required) | set(own.arguments)
        required = own.required | (inherited.required - given)
        return Signature(node.name, path, arguments, required, inherited.open)
    inherited = _of_bases(node, path, package, depth)
    return Signature(node.name, path, inherited.arguments, inherited.required, inherited.open)


def _of_bases(node: ast.ClassDef, path: Path, package: str, depth: int) -> Signature:
    """Arguments of the base classes together; an unknown base takes everything."""
    arguments: dict[str, ast.expr | None] = {}
    required: frozenset[str] = frozenset()
    for base in node.bases:
        name = base.attr if isinstance(base, ast.Attribute) else getattr(base, 'id', '')
        if name in _CLOSED - {'CheckpointHook'}:
            continue
        found = _find_base(name, path, package) if depth < 8 else None
        if found is None:
            return Signature(node.name, path, open=True)
        inherited = _read(found[1], found[0], package, depth + 1)
        if inherited.open:
            return inherited
        arguments = {**inherited.arguments, **arguments}
        required |= inherited.required
    return Signature(node.name, path, arguments, required)


def _find_base(name: str, path: Path, package: str) -> tuple[Path, ast.stmt] | None:
    for node in _tree(path).body:
        if getattr(node, 'name', None) == name:
            return path, node
    for line in ast.walk(_tree(path)):
        if isinstance(line, ast.ImportFrom):
            for alias in line.names:
                if (alias.asname or alias.name) == name:
                    own = package.partition('/')[0]
                    top = own if line.level else (line.module or own).partition('.')[0]
                    found = _definitions('torch/optim' if top == 'torch' else top, alias.name)
                    return found[0] if found else None
    return None


def _of_function(node: ast.FunctionDef, path: Path, skip: int) -> Signature:
    plain = [*node.args.posonlyargs, *node.args.args][skip:]
    needed = plain[: len(plain) - len(node.args.defaults)]
    needed += [
        argument
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
        if default is None
    ]
    arguments = {argument.arg: argument.annotation for argument in [*plain, *node.args.kwonlyargs]}
    required = frozenset(argument.arg for argument in needed)
    return Signature(node.name, path, arguments, required, node.args.kwarg is not None)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any('dataclass' in ast.dump(mark) for mark in node.decorator_list)


def _of_fields(node: ast.ClassDef, path: Path) -> Signature:
    lines = [line for line in node.body if isinstance(line, ast.AnnAssign)]
    fields = {line.target.id: line for line in lines if isinstance(line.target, ast.Name)}
    arguments: dict[str, ast.expr | None] = {n: line.annotation for n, line in fields.items()}
    required = frozenset(name for name, line in fields.items() if line.value is None)
    return Signature(node.name, path, arguments, required)


def _calls_of_base(init: ast.FunctionDef) -> Iterator[ast.Call]:
    for node in ast.walk(init):
        if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == '__init__':
            yield node


def _hands_on(init: ast.FunctionDef) -> bool:
    """Whether ``**kwargs`` go to the base class."""
    name = init.args.kwarg.arg if init.args.kwarg else ''
    return any(
        word.arg is None and getattr(word.value, 'id', '') == name
        for call in _calls_of_base(init)
        for word in call.keywords
    )


def _passed(init: ast.FunctionDef, names: Iterable[str]) -> set[str]:
    """Those of a base class's arguments that the constructor gives it itself.

    By position, too, where the parameter's own name is mostly that of the base; what cannot be told
    from the source counts as given.
    """
    given: set[str] = set()
    for call in _calls_of_base(init):
        given |= {word.arg for word in call.keywords if word.arg}
        given |= {argument.id for argument in call.args if isinstance(argument, ast.Name)}
        if any(not isinstance(argument, ast.Name) for argument in call.args):
            given |= set(names)
    return given


def _union(found: list[Signature]) -> Signature:
    """One signature for definitions of one name in several registries."""
    arguments = {name: kind for one in found for name, kind in one.arguments.items()}
    required = frozenset.intersection(*(one.required for one in found))
    return Signature(
        found[0].name, found[0].file, arguments, required, any(one.open for one in found)
    )
