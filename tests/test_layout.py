"""The layout's rules, read from the source with :mod:`ast`; nothing of the package is run."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'nextvid_mm'
MODULES = sorted(PACKAGE.rglob('*.py'))

FLOORS = {
    'registry': 0,
    'late_imports': 0,
    'lettering': 0,
    'runner_output': 0,
    'environment': 3,
    'compat': 1,
    'files': 0,
    'checks': 0,
    'storage': 1,
    'version': 0,
    'config_rules': 0,
    'config_checks': 1,
    'run_folder': 1,
    'config_files': 2,
    'signatures': 0,
    'stopping': 0,
    'data_checks': 1,
    'progress': 0,
    'layers': 1,
    'flow': 1,
    'models': 2,
    'datasets': 2,
    'evaluation': 2,
    'engine': 3,
    'visualization': 3,
    'interop': 3,
    'plan': 4,
    'inferencers': 4,
    'compare': 5,
    'goodput': 5,
    'report': 5,
    'demo': 6,
    'cli': 7,
    '__main__': 8,
}
MAX_LINES = 350
MAX_FUNCTION_LINES = 60
MAX_CONSTRUCTOR_ARGUMENTS = 13


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), filename=str(path))


def _own_imports(path: Path) -> set[tuple[str, ...]]:
    """Dotted names below ``nextvid_mm`` that a module imports, each without the package's name."""
    parents = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names = [tuple(alias.name.split('.')) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split('.') if node.module else ()))
            names = [(*module, alias.name) for alias in node.names]
        else:
            continue
        found |= {name[1:] for name in names if name[0] == PACKAGE.name and len(name) > 1}
    return found


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _public(nodes: list[ast.stmt], kind: type) -> list:
    return [node for node in nodes if isinstance(node, kind) and not node.name.startswith('_')]


def test_every_part_of_the_package_has_a_floor():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == '.py' or path.is_dir()}
    assert parts - {'__init__', '__pycache__', '.mim'} == set(FLOORS)


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_imports_only_go_down(path):
    part = path.relative_to(PACKAGE).with_suffix('').parts[0]
    if part == '__init__':
        pytest.skip('the package itself')
    wrong = {
        '.'.join(name)
        for name in _own_imports(path)
        if name[0] in FLOORS and name[0] != part and FLOORS[name[0]] >= FLOORS[part]
    }
    assert not wrong, f'{_name(path)} (floor {FLOORS[part]}) must not import {sorted(wrong)}'


@pytest.mark.parametrize('part', ['layers', 'flow'])
def test_floor_one_is_plain_pytorch(part):
    for path in (PACKAGE / part).rglob('*.py'):
        names = {name[0] for name in _own_imports(path)}
        assert not names & {'registry', 'compat'}, f'{_name(path)} must register nothing'
        assert 'mmengine' not in path.read_text(encoding='utf-8'), _name(path)


def test_tests_mirror_the_package():
    missing = [
        _name(path)
        for path in MODULES
        if path.stem not in ('__init__', '__main__', 'version') and not _mirror(path).is_file()
    ]
    assert not missing, f'modules without their own test file: {missing}'


def _mirror(path: Path) -> Path:
    inside = path.relative_to(PACKAGE)
    return ROOT / 'tests' / inside.parent / f'test_{path.name}'


def test_tests_have_no_orphans():
    areas = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    orphans = []
    for path in (ROOT / 'tests').rglob('test_*.py'):
        inside = path.relative_to(ROOT / 'tests')
        module = PACKAGE / inside.parent / path.name.removeprefix('test_')
        if inside.parts[0] in areas and not module.is_file():
            orphans.append(_name(path))
    assert not orphans, f'test files whose module is gone: {orphans}'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_public_names_have_docstrings(path):
    tree = _tree(path)
    assert ast.get_docstring(tree), f'{_name(path)} says nothing about itself'
    kinds = (ast.ClassDef, ast.FunctionDef)
    silent = [node.name for node in _public(tree.body, kinds) if not ast.get_docstring(node)]
    assert not silent, f'{_name(path)}: no docstring on {silent}'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_files_functions_and_constructors_stay_small(path):
    text = path.read_text(encoding='utf-8')
    assert text.count('\n') <= MAX_LINES, f'{_name(path)} has more than {MAX_LINES} lines'
    for node in _functions(_tree(path)):
        lines = node.end_lineno - node.lineno + 1
        assert lines <= MAX_FUNCTION_LINES, f'{_name(path)}: {node.name} has {lines} lines'
        if node.name == '__init__':
            count = len(node.args.args) + len(node.args.kwonlyargs) - 1
            where = f'{_name(path)}:{node.lineno}'
            assert count <= MAX_CONSTRUCTOR_ARGUMENTS, f'{where}: {count} arguments'


@pytest.mark.parametrize('path', MODULES, ids=_name)
def test_nothing_is_exported_by_star_or_swallowed(path):
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != '*' for alias in node.names), f'{_name(path)}: star import'
        if isinstance(node, ast.ExceptHandler):
            kept = not all(isinstance(line, ast.Pass) for line in node.body)
            assert kept, f'{_name(path)}:{node.lineno} swallows an exception'


@pytest.mark.parametrize(
    'path', [path for path in MODULES if path.name == '__init__.py'], ids=_name
)
def test_all_is_sorted_and_complete(path):
    tree = _tree(path)
    lists = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == '__all__'
    ]
    bound = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert len(lists) == bool(bound), f'{_name(path)}: imports {sorted(bound)}, needs one __all__'
    if lists:
        assert bound <= set(lists[0]) or path.parent == PACKAGE, sorted(bound - set(lists[0]))
