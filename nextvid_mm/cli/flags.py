"""Flags that several tools have: one name, one meaning, written once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from nextvid_mm.config_rules import LAUNCHERS

FLOATS = ('float32', 'bfloat16', 'float16')
ENCODERS = ('reference', 'encoder')


class CfgOptions(argparse.Action):
    """``KEY=VALUE`` words by dotted key, as MMEngine's ``DictAction`` reads them, and paths.

    A value keeps its blanks, and one in quotes of its own (``KEY='"a,b"'``) its commas.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Parse the words; the flag may be given several times."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for word in values or ():
            key, equals, text = word.partition('=')
            if not equals or not key:
                parser.error(f'argument {option_string}: {word!r} is not KEY=VALUE')
            try:
                options[key] = option_value(text)
            except AssertionError as error:
                parser.error(f'argument {option_string}: {word!r}: {error}')
        setattr(namespace, self.dest, options)


def count(text: str, least: int = 1) -> int:
    """A flag's whole number of at least ``least``, as the ``type`` of an argument."""
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f'{text} must be a whole number of at least {least}')
    return int(text)


def option_value(text: str) -> Any:
    """The value that a word of ``--cfg-options`` means: number, truth value, None, text or list."""
    from mmengine.config import DictAction

    inner = text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in '"\'' else None
    if inner is not None and not inner.startswith(('[', '(')):
        return inner
    if ',' in text or text.startswith(('[', '(')) or inner is not None:
        return DictAction._parse_iterable(text)
    return DictAction._parse_int_float_bool(text)


SHARED: dict[str, tuple[str, dict[str, Any]]] = {
    '--work-dir': ('folder for logs and results', {}),
    '--cfg-options': (
        'override config values, such as train_dataloader.num_workers=4 or '
        'train_cfg.stages.0.steps=100; lists as key="[a,b]", without spaces',
        dict(nargs='+', action=CfgOptions, metavar='KEY=VALUE'),
    ),
    '--device': (
        'where networks run, such as cpu or cuda:1 (default: the fastest there is)',
        {},
    ),
    '--dtype': (
        'autocast of the forward pass (default: none)',
        dict(choices=['auto', 'bfloat16', 'float16']),
    ),
    '--store': ('number format on the disk', dict(choices=FLOATS)),
    '--weights': (
        'encoder of a pretraining checkpoint: the EMA reference (default) or the trained one',
        dict(choices=ENCODERS),
    ),
    '--out': ('where to write', {}),
    '--root': ('folder that the paths in lists are relative to', {}),
    '--columns': (
        'how a table (.csv, .tsv, .parquet) calls the columns path, label, start and end, such as '
        'path=video start=begin',
        dict(nargs='+', action=CfgOptions, metavar='NAME=COLUMN'),
    ),
    '--fps': ('video frames per second', dict(type=float)),
    '--num-frames': ('video frames of a clip', dict(type=int)),
    '--size': ('height and width in pixels', dict(type=int)),
    '--batch-size': ('clips per forward pass', dict(type=int)),
    '--workers': ('processes', dict(type=int)),
    '--window': ('tubelets that are remembered', dict(type=int)),
    '--seed': ('seed', dict(type=int)),
    '--seeds': ('one run for each', dict(type=int, nargs='+')),
    '--launcher': (
        'how processes were started (default: one process); tools/dist_*.sh set it',
        dict(choices=LAUNCHERS, default='none'),
    ),
    '--cache-features': (
        'encode the training set once, without random augmentation, and train the probes on the '
        'features kept in FOLDER (default: work_dirs/features); results are labelled "cached '
        'features"',
        dict(nargs='?', const='work_dirs/features', metavar='FOLDER'),
    ),
}


def add_shared(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    flag: str,
    more: str = '',
    *aliases: str,
    **settings: Any,
) -> None:
    """Add a shared flag.

    Args:
        parser: Of the tool, or a group of it.
        flag: One of ``SHARED``.
        more: What the tool has to add to its help; a default is named by itself.
        aliases: Older names of the flag.
        settings: Of ``add_argument``, over those of the table.
    """
    meaning, common = SHARED[flag]
    default = settings.get('default')
    shown = '' if default in (None, '', {}, []) else ' (default: %(default)s)'
    if isinstance(default, list):
        shown = f' (default: {" ".join(map(str, default))})'
    text = f'{meaning}{more and " "}{more}{shown}'
    parser.add_argument(flag, *aliases, help=text, **{**common, **settings})


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add the two flags by which launchers start processes."""
    add_shared(parser, '--launcher')
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help='set by launchers'
    )


def device_of(args: argparse.Namespace) -> str:
    """The device that ``--device`` names, or the fastest there is."""
    from mmengine.device import get_device

    return str(args.device or get_device())
