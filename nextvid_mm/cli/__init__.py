"""The command line: ``nextvid NAME``, and the doors in ``tools/`` that open the same.

Each tool is a module with a docstring (its first line is the help), an ``EPILOG``,
``add_flags(parser)`` and ``run(args)``. None of them imports more than :mod:`argparse` before the
flags are right.
"""

from .command import GROUPS, errors_in_one_line, main, make_parser, tool

__all__ = ['GROUPS', 'errors_in_one_line', 'main', 'make_parser', 'tool']
