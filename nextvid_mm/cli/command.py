"""Finds a tool by its name, parses its flags, runs it and reports what went wrong in one line."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from nextvid_mm.stopping import INTERRUPTED, STOPPED, Stopped, stop_on_signals

GROUPS: dict[str, tuple[str, ...]] = {
    'see it work': ('demo', 'run_ablations', 'make_demo_data'),
    'prepare': (
        'check_environment',
        'scan_dataset',
        'pack_shards',
        'propose_config',
        'browse_dataset',
        'print_stages',
        'plan_memory',
        'explain_step',
    ),
    'prepare targets': ('cache_latents', 'compute_latent_stats'),
    'train and evaluate': ('train', 'test', 'evaluate', 'report', 'check_resume'),
    'use a classifier': ('predict', 'stream_demo'),
    'use an encoder': ('extract_features', 'explore_videos', 'generate', 'convert_checkpoint'),
}
NAMES = tuple(name for names in GROUPS.values() for name in names)

# What wrong flags, configs, files, data or a missing library raise: the text says it all. Of other
# errors, the type says something, too, and the place.
_TOLD = (ValueError, OSError, ImportError, RuntimeError, FloatingPointError, AssertionError)
# What a torch loader puts around the error of a worker.
_WRAPPED = re.compile(r'^Caught \w+ in DataLoader worker process \d+\.\nOriginal Traceback')
_LAST_ERROR = re.compile(
    r'^[\w.]*(?:Error|Exception|Exit|Warning|Interrupt|Iteration)\b(?:: |$)', re.M
)
_PLACE = re.compile(r'File "(.*)", line (\d+)')


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
    module = tool(name)
    with errors_in_one_line(prog, args.debug, getattr(module, 'GOES_ON', '')):
        code = module.run(args)
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
    parser.add_argument(
        '--debug', action='store_true', help='show where in the program an error came from'
    )
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
    prog: str, show_traceback: bool = False, goes_on: str = ''
) -> Iterator[None]:
    """End the program with one line that says what went wrong; codes as in ``stopping.py``.

    The traceback stands in the log file of a run, if there is one.

    Args:
        prog: What was called; begins the line.
        show_traceback: Print where the error came from, too (``--debug``).
        goes_on: Said after a stop: how to go on.
    """
    label = _label(prog)
    try:
        with stop_on_signals():
            yield
    except (KeyboardInterrupt, Stopped) as stop:
        _end_stopped(label, stop, goes_on)
    except Exception as error:  # whatever it is, the user is told in one line
        behind: BaseException | None = error
        while behind is not None:  # a bare `except:` of another library has caught the stop
            if isinstance(behind, KeyboardInterrupt | Stopped):
                _end_stopped(label, behind, getattr(error, 'advice', goes_on))
            behind = behind.__context__
        if show_traceback:
            traceback.print_exc()
        _put_into_log(error)
        hint = '' if show_traceback or isinstance(error, _TOLD) else '; --debug shows the traceback'
        advice = getattr(error, 'advice', '')
        sys.exit(f'{label}: error: {what_is_wrong(error)}{hint}{advice and ". "}{advice}')


def _end_stopped(label: str, stop: KeyboardInterrupt | Stopped, goes_on: str) -> NoReturn:
    """Say by what the program was stopped and how to go on, and end it."""
    name, text = (stop.name, stop.text) if isinstance(stop, Stopped) else ('SIGINT', '')
    more, word = text or goes_on, 'Ctrl-C' if name == 'SIGINT' else name
    print(f'{label}: stopped by {word}{more and ". "}{more}', file=sys.stderr)
    sys.exit(INTERRUPTED if name == 'SIGINT' else STOPPED)


def what_is_wrong(error: BaseException) -> str:
    """An error's text: without torch's wrapping, with its type and place where that says more."""
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error).strip()
    frames = traceback.extract_tb(error.__traceback__)
    places = [(frame.filename, frame.lineno) for frame in frames]
    if _WRAPPED.match(text):
        places += _PLACE.findall(text)
        text = text[max((e.end() for e in _LAST_ERROR.finditer(text)), default=0) :].strip()
    if 'out of memory' in text or isinstance(error, MemoryError):
        return f'{_OUT_OF_MEMORY} ({(text.splitlines() or ["MemoryError"])[0]})'
    if any(kind.__name__ == 'TorchDynamoException' for kind in type(error).__mro__):
        lines = text.splitlines()
        told = next((line for line in lines if 'error: ' in line), lines[0] if lines else '')
        fix = _NO_COMPILER if _COMPILERS.search(text) else ''
        return f'torch.compile failed ({told.strip()}): {fix}set model.compile=False'
    sentence = isinstance(error, KeyError) and ' ' in text
    if text and (sentence or isinstance(error, (*_TOLD, TypeError))):
        return text
    place = f' ({Path(places[-1][0]).name}:{places[-1][1]})' if places else ''
    return f'{type(error).__name__}: {text or "no message"}{place}'


_OUT_OF_MEMORY = (
    'out of memory: lower micro_batch_size in train_cfg.stages (or the batch size), or set '
    'with_cp=True; tools/plan_memory.py says what fits. --resume goes on from the last checkpoint'
)
# What PyTorch says where a compiler is missing, or its headers are; and what to do about it.
_COMPILERS = re.compile(r'C\+\+ compiler|C\+\+ compile error|triton installation|C compiler')
_NO_COMPILER = (
    'install a C++ compiler such as g++ (CXX names another) with the headers of Python, on a GPU '
    'Triton and a C compiler, or '
)


def _put_into_log(error: Exception) -> None:
    """Write the traceback into the log file of the run, if one has been opened."""
    logging = sys.modules.get('mmengine.logging')
    loggers = logging.MMLogger._instance_dict.values() if logging is not None else ()
    for handler in (handler for logger in loggers for handler in logger.handlers):
        stream = getattr(handler, 'stream', None)
        if hasattr(handler, 'baseFilename') and stream is not None and not stream.closed:
            with suppress(OSError):
                stream.write(''.join(traceback.format_exception(error)))
                stream.flush()


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
