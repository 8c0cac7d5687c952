"""What all tools share: help, names, doors, errors, exit codes, and how little is imported."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import nextvid_mm.cli
from nextvid_mm.cli import GROUPS, errors_in_one_line, main, make_parser, tool
from nextvid_mm.cli.command import NAMES, what_is_wrong
from nextvid_mm.cli.flags import SHARED
from nextvid_mm.stopping import Stopped

ROOT = Path(__file__).resolve().parents[2]
NOT_TOOLS = {'__init__', 'command', 'flags'}
HEAVY = ('torch', 'mmengine', 'rich', 'nextvid_mm.engine', 'nextvid_mm.models')


def _fresh(code):
    """Run code in a fresh process; return what it prints on both streams, and its exit code."""
    code = f'{code}\nprint([name for name in {HEAVY} if name in sys.modules])'
    command = [sys.executable, '-W', 'ignore', '-c', f'import sys\n{code}']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_every_tool_is_listed_once_and_has_a_door():
    modules = {path.stem for path in Path(nextvid_mm.cli.__file__).parent.glob('*.py')} - NOT_TOOLS
    assert sorted(NAMES) == sorted(modules)
    doors = {path.stem for path in (ROOT / 'tools').glob('*.py')}
    assert doors == modules | {'benchmark'}  # that one opens what is not in the package


@pytest.mark.parametrize('name', NAMES)
def test_doors_are_all_alike(name):
    lines = (ROOT / f'tools/{name}.py').read_text(encoding='utf-8').splitlines()
    assert lines[0] == f'"""``nextvid {name.replace("_", "-")}`` from a checkout: ' + (
        f'nextvid_mm/cli/{name}.py."""'
    )
    example = (ROOT / 'tools/train.py').read_text(encoding='utf-8').splitlines()
    assert lines[1:-1] == example[1:-1]
    assert lines[-1] == f'    main({name!r})'


@pytest.mark.parametrize('name', NAMES)
def test_help_teaches_by_example(name):
    text = make_parser(name).format_help()
    assert text.startswith(f'usage: {name}.py ')
    examples = re.findall(rf'python tools/{name}\.py .*', text)
    assert examples or './demo.sh' in text
    again = make_parser(name, f'nextvid {name.replace("_", "-")}').format_help()
    assert 'python tools/' not in again
    assert again.count(f'nextvid {name.replace("_", "-")} ') > len(examples) * bool(examples)


@pytest.mark.parametrize('name', NAMES)
def test_shared_flags_have_the_shared_meaning(name):
    # Encoders have sizes, too, and those have names.
    others = {'--size'} if name == 'propose_config' else set()
    for action in make_parser(name)._actions:
        for flag in set(action.option_strings) & set(SHARED) - others:
            assert action.help.startswith(SHARED[flag][0]), f'{name} {flag}'


def test_help_of_everything_imports_nothing_heavy():
    code = f"""
from nextvid_mm.cli import main, make_parser
main(None, ['--help'])
for name in {NAMES}:
    if name != 'make_demo_data':  # its defaults are those of the specification, which needs numpy
        make_parser(name).format_help()
"""
    said = _fresh(code)
    assert said.endswith('\n[]\n')
    for group, names in GROUPS.items():
        assert f'\n{group}:\n' in said
        for name in names:
            line = rf'^  {name.replace("_", "-")} +{re.escape(tool(name).__doc__.splitlines()[0])}$'
            assert re.search(line, said, re.MULTILINE)


@pytest.mark.parametrize(
    ('words', 'message', 'loaded'),
    [
        (['absent.py'], 'train: error: config file absent.py does not exist', []),
        (['BAD'], "nothing reads the key 'train_dataloder'. Did you mean 'train_dataloader'?", []),
        (['GOOD', '--cfg-options', 'modle.a=1'], "Did you mean 'model'?", ['mmengine', 'rich']),
        (['GOOD', '--sed', '1'], 'train: error: unrecognized arguments: --sed 1', []),
        (['GOOD', '--cfg-options', 'a'], "--cfg-options: 'a' is not KEY=VALUE", []),
    ],
)
def test_a_mistake_is_told_before_anything_heavy_is_imported(words, message, loaded, tmp_path):
    good = ROOT / 'configs/nextvid/vit-tiny_demo.py'
    bad = tmp_path / 'bad.py'
    bad.write_text(f'_base_ = {str(good)!r}\ntrain_dataloder = dict(num_workers=2)\n')
    words = [{'GOOD': str(good), 'BAD': str(bad)}.get(word, word) for word in words]
    said = _fresh(f"""
from nextvid_mm.cli import main
try:
    main('train', {words!r})
except SystemExit as end:
    print(end.code)
""")
    assert message in said
    (printed,) = re.findall(r'^\[.*\]$', said, re.MULTILINE)
    assert ast.literal_eval(printed) == loaded


def test_the_module_runs_as_the_command_does():
    done = subprocess.run(
        [sys.executable, '-m', 'nextvid_mm', 'print-stage'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr == "nextvid: error: there is no 'print-stage'; did you mean 'print-stages'?\n"
    )


def test_names_may_be_written_either_way(capsys):
    for word in ('extract-features', 'extract_features'):
        with pytest.raises(SystemExit) as end:
            main(None, [word])
        assert end.value.code == 2
        assert 'nextvid extract-features: error: the following arguments' in capsys.readouterr().err


def test_version(capsys):
    main(None, ['--version'])
    assert capsys.readouterr().out.strip() == nextvid_mm.__version__


@pytest.mark.parametrize(
    'error', [ValueError('bad value'), KeyError('bad value'), ImportError('bad value')]
)
def test_a_users_error_ends_in_one_line(error):
    with pytest.raises(SystemExit, match='^train: error: bad value'), errors_in_one_line('train'):
        raise error


def test_any_other_error_says_its_type_and_place(capsys):
    with pytest.raises(SystemExit) as end, errors_in_one_line('train'):
        raise ZeroDivisionError('division by zero')
    text = r'train: error: ZeroDivisionError: division by zero \(test_command.py:\d+\); --debug .*'
    assert re.fullmatch(text, end.value.code)
    assert 'Traceback' not in capsys.readouterr().err
    with pytest.raises(SystemExit), errors_in_one_line('train', show_traceback=True):
        raise TypeError('unexpected keyword')
    assert 'Traceback' in capsys.readouterr().err


def test_an_error_of_a_loader_worker_is_that_error():
    wrapped = (
        'Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call '
        'last):\n  File "a.py", line 1, in f\n    g()\nKeyError: \'x\'\n\nDuring handling of the '
        'above exception, another exception occurred:\n\n  File "a.py"\nValueError: list.txt, line '
        '3: no label'
    )
    assert what_is_wrong(ValueError(wrapped)) == 'list.txt, line 3: no label'


@pytest.mark.parametrize(
    ('kind', 'told'), [(AssertionError, ''), (StopIteration, ''), (OSError, 'x: y')]
)
def test_an_error_of_a_loader_worker_may_say_nothing(kind, told):
    wrapped = (
        f'Caught {kind.__name__} in DataLoader worker process 0.\nOriginal Traceback (most recent '
        f'call last):\n  File "b.py", line 1, in f\n    g()\nKeyError: 1\n\nDuring handling of the '
        f'above exception, another exception occurred:\n\n  File "/a.py", line 7, in g\n    '
        f'assert x\n{kind.__name__}{told and ": "}{told}\n'
    )
    said = what_is_wrong(kind(wrapped))
    assert said == (told or f'{kind.__name__}: no message (a.py:7)')


def test_out_of_memory_says_what_to_lower():
    said = what_is_wrong(RuntimeError('CUDA out of memory. Tried to allocate 2 GiB'))
    assert said.startswith('out of memory: lower micro_batch_size')
    assert 'Tried to allocate 2 GiB' in said
    assert what_is_wrong(MemoryError()).endswith('(MemoryError)')


@pytest.mark.parametrize('compiler', ['absent', 'without headers'])
def test_a_compiler_that_is_missing_is_told_in_one_line(compiler, tmp_path):
    script = tmp_path / 'c++'
    if compiler == 'without headers':
        script.write_text(
            '#!/bin/sh\ncase "$*" in *--version*) exit 0;; esac\n'
            'echo "a.cpp:1:10: fatal error: Python.h: No such file or directory" >&2; exit 1\n'
        )
        script.chmod(0o755)
    code = """
import torch
from nextvid_mm.cli import errors_in_one_line
module = torch.nn.GELU()
module.compile(dynamic=False)
with errors_in_one_line('train'):
    module(torch.ones(2, 4))
"""
    environment = os.environ | dict(CXX=str(script), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    done = subprocess.run(
        [sys.executable, '-c', code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    told = f"No working C++ compiler found in torch._inductor.config.cpp.cxx: (None, '{script}')"
    if compiler == 'without headers':
        told = 'a.cpp:1:10: fatal error: Python.h: No such file or directory'
    assert done.returncode == 1
    said = done.stderr.strip().splitlines()[-1]
    assert said.startswith('train: error: torch.compile failed (')
    assert f'{told}): install a C++ compiler such as g++' in said
    assert said.endswith(' or set model.compile=False')
    assert 'Traceback' not in done.stderr


def test_of_other_errors_while_compiling_only_the_beginning_is_told():
    from torch._dynamo.exc import Unsupported

    said = what_is_wrong(Unsupported('no such operator\n\nSet TORCHDYNAMO_VERBOSE=1 for more'))
    assert said == 'torch.compile failed (no such operator): set model.compile=False'


@pytest.mark.parametrize(
    ('name', 'code', 'text'),
    [('SIGINT', 130, 'Ctrl-C'), ('SIGTERM', 143, 'SIGTERM'), ('SIGHUP', 143, 'SIGHUP')],
)
def test_a_stop_is_one_line_and_its_code(name, code, text, capsys):
    default = signal.default_int_handler if name == 'SIGINT' else signal.SIG_DFL
    # Ignored where tests run behind, noted where another program has started them.
    before = signal.signal(getattr(signal, name), default)
    try:
        with pytest.raises(SystemExit) as end, errors_in_one_line('scan_dataset.py'):
            signal.raise_signal(getattr(signal, name))
        assert end.value.code == code
        assert capsys.readouterr().err == f'scan_dataset: stopped by {text}\n'
        assert signal.getsignal(getattr(signal, name)) is default
    finally:
        signal.signal(getattr(signal, name), before)


def format_config():
    """As MMEngine does: whatever happens inside becomes an error of its own."""
    try:
        raise Stopped('SIGTERM')
    except BaseException:
        raise SyntaxError('cannot format the config') from None


def test_a_stop_that_another_library_has_caught_is_a_stop(capsys):
    with pytest.raises(SystemExit) as end, errors_in_one_line('train', goes_on='Again'):
        format_config()
    assert end.value.code == 143
    assert capsys.readouterr().err == 'train: stopped by SIGTERM. Again\n'


def test_a_traceback_stands_in_the_log_of_the_run(tmp_path):
    from mmengine.logging import MMLogger

    log = tmp_path / 'run.log'
    MMLogger.get_instance('of the test', log_file=str(log))
    with pytest.raises(SystemExit), errors_in_one_line('train'):
        raise ValueError('bad value')
    assert 'Traceback' in log.read_text()
    assert log.read_text().endswith('ValueError: bad value\n')
