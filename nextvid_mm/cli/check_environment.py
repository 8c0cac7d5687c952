"""Say what this machine lacks for a run: versions, GPU, memory, files, disk, codecs, with fixes."""

from __future__ import annotations

import argparse

from nextvid_mm.cli.flags import add_shared

EPILOG = """\
Exits with 1 if something is bad. With a config, workers and disk are held against what it asks for.
tools/train.py says what is bad when a run fails at its start.

examples:
  python tools/check_environment.py
  python tools/check_environment.py configs/nextvid/vit-tiny_demo.py
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument('config', nargs='?', help='what will be run')
    add_shared(parser, '--work-dir', '(default: the current one)', default='.')
    add_shared(parser, '--cfg-options')


def run(args: argparse.Namespace) -> int:
    """Print a line for every check; 1 if one is bad."""
    config = None
    if args.config is None and args.cfg_options:
        raise ValueError('--cfg-options change a config: name it')
    if args.config is not None:
        from nextvid_mm.config_files import checked_config

        config = dict(checked_config(args.config, args.cfg_options).items())

    from nextvid_mm.environment import BAD, findings

    found = findings(config, args.work_dir)
    for finding in found:
        print(finding)
    return int(any(finding.verdict == BAD for finding in found))
