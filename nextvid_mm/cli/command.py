"""Finds a tool by its name, parses its flags, runs it and reports what went wrong in one line."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import NoReturn

GROUPS: dict[str, tuple[str, ...]] = {
    'see it work': ('demo', 'run_ablations', 'make_demo_data'),
    'prepare': (
        'scan_dataset',
        'browse_dataset',
        'print_stages',
        'plan_memory',
        'explain_step',
    ),
    'prepare targets': ('cache_latents', 'compute_latent_stats'),
    'train and evaluate': ('train', 'test', 'report', 'check_resume'),
    'use an encoder': ('extract_features', 'stream_demo', 'generate', 'convert_checkpoint'),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)

# What wrong flags, configs, files or a missing library raise; anything else is a fault of the
# program. Parts built from a config refuse unknown arguments with the last two.
_USER_ERRORS = (ValueError, OSError, ImportError)
_CONFIG_ERRORS = (TypeError, KeyError)


class Parser(argparse.ArgumentParser):
    """Says what is wrong with the flags in one line, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(2, f'{_label(self.prog)}: error: {message}; --help shows all flags\n')


def main(name: str | None = None, arguments: Sequence[str] | None = None) -> None:
    """Run a tool; exit with 1 after an error, with 2 after a wrong flag.

    Args:
        name: The tool; None takes the first argument, as ``nextvid`` does.
        arguments: Command line (default: that of the process).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    prog = f'{name}.py'
    if name is None:
        if not words or words[0] in ('-h', '--help'):
            print(overview())
            return
        if words[0] == '--version':
            from nextvid_mm.version import __version__

            print(__version__)
            return
        name = _known(words.pop(0))
        prog = f'nextvid {_dashed(name)}'
    parser = make_parser(name, prog)
    args = parser.parse_args(words)
    with errors_in_one_line(prog, of_config='config' in args or 'probe_config' in args):
        code = tool(name).run(args)
    if code:
        sys.exit(code)


def tool(name: str) -> ModuleType:
    """The module of a tool."""
    return import_module(f'nextvid_mm.cli.{name}')


def make_parser(name: str, prog: str | None = None) -> Parser:
    """The parser of a tool, with its description and examples.

    Args:
        name: The tool.
        prog: What it is called in its help (default: the door in ``tools/``); the examples follow.
    """
    module = tool(name)
    prog = prog or f'{name}.py'
    epilog = module.EPILOG
    if prog.startswith('nextvid '):
        epilog = re.sub(
            r'python tools/(\w+)\.py', lambda found: f'nextvid {_dashed(found[1])}', epilog
        )
    parser = Parser(
        prog=prog,
        description=module.__doc__,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_flags(parser)
    return parser


def overview() -> str:
    """Help of ``nextvid``: every tool with one line, by task."""
    width = max(map(len, NAMES))
    lines = ['usage: nextvid NAME [flags]', '', 'NExT-Vid on OpenMMLab.']
    for group, names in GROUPS.items():
        lines += ['', f'{group}:']
        for name in names:
            first = (tool(name).__doc__ or '').partition('\n')[0]
            lines.append(f'  {_dashed(name):{width}}  {first}')
    return '\n'.join([*lines, '', 'nextvid NAME --help shows flags and examples.'])


@contextmanager
def errors_in_one_line(
    prog: str, show_traceback: bool = False, of_config: bool = True
) -> Iterator[None]:
    """End the program with one line that says what is wrong with flags, config or data.

    Args:
        prog: What was called; begins the line.
        show_traceback: Print where the error came from, too (``log_level='DEBUG'``).
        of_config: Parts are built from a config, whose mistakes may be TypeError or KeyError.
    """
    expected: tuple[type[Exception], ...] = _USER_ERRORS
    if of_config:
        expected += _CONFIG_ERRORS
    try:
        yield
    except expected as error:
        if show_traceback:
            traceback.print_exc()
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        vague = isinstance(error, _CONFIG_ERRORS) and not show_traceback
        hint = " (log_level='DEBUG' in the config shows where)" if vague else ''
        sys.exit(f'{_label(prog)}: error: {text}{hint}')


def _label(prog: str) -> str:
    return prog.removesuffix('.py')


def _dashed(name: str) -> str:
    return name.replace('_', '-')


def _known(word: str) -> str:
    name = word.replace('-', '_')
    if name in NAMES:
        return name
    close = get_close_matches(name, NAMES, n=1)
    fix = f'did you mean {_dashed(close[0])!r}?' if close else 'nextvid --help lists them'
    print(f'nextvid: error: there is no {word!r}; {fix}', file=sys.stderr)
    sys.exit(2)
