"""What MMEngine and its kin write, where it costs time or buries what a person wants to read.

Work-arounds as those of :mod:`nextvid_mm.compat`, which applies them. A terminal shows what
happens; environment, config and hooks stand in the log file.
"""

from __future__ import annotations

import logging
import sys
import warnings
from functools import partial, wraps
from typing import Any

# How records begin that only the log file has.
BULK = ('-' * 60 + '\nSystem environment', 'Config:\n', 'Hooks will be executed in the following')
# Advice to MMEngine's own authors, which its logger gives at every checkpoint.
USELESS = ('"FileClient" will be deprecated', '"HardDiskBackend" is the alias of')
_FORMATTED = 4


class ForPeople(logging.Filter):
    """Lets through what a person at a terminal can use.

    Args:
        beginnings: of the records that are held back.
    """

    def __init__(self, beginnings: tuple[str, ...]) -> None:
        super().__init__()
        self.beginnings = beginnings

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown."""
        return not record.getMessage().lstrip().startswith(self.beginnings)


def keep_bulk_in_the_file() -> None:
    """Keep MMEngine's dump of environment, config and hooks, two hundred lines, off the terminal.

    A log file that cannot be written is told once.

    Upstream: not reported; seen with MMEngine 0.10.7. Can go when its logger has a level for it.
    """
    from mmengine.logging.logger import MMLogger

    original = MMLogger.__init__

    @wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        to_file = any(isinstance(handler, logging.FileHandler) for handler in self.handlers)
        for handler in self.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handleError = partial(_say_once, handler, [])  # type: ignore[method-assign]
            else:
                handler.addFilter(ForPeople((*USELESS, *BULK) if to_file else USELESS))

    MMLogger.__init__ = init


def _say_once(handler: logging.FileHandler, told: list[str], record: logging.LogRecord) -> None:
    """A log file that cannot be written (a full disk) is one line, not a traceback a record."""
    if not told:
        told.append(f'{handler.baseFilename} cannot be written: {sys.exc_info()[1]}')
        print(*told, file=sys.stderr)


def format_configs_once() -> None:
    """Let MMEngine format the text of a config once, not four times at a start and at every save.

    yapf needs half a second for a config of this project, in which training waits.

    Upstream: not reported; seen with MMEngine 0.10.7. Can go when ``Config.pretty_text`` is kept.
    """
    from mmengine.config import config as module

    original, known = module.FormatCode, dict[tuple[str, str], Any]()

    @wraps(original)
    def format_code(text: str, **settings: Any) -> Any:
        key = text, str(settings)
        if key not in known:
            while len(known) >= _FORMATTED:
                known.pop(next(iter(known)))
            known[key] = original(text, **settings)
        return known[key]

    module.FormatCode = format_code


def silence_advice() -> None:
    """Ignore warnings of MMCV 2.2, MMEngine 0.10 and torch 2.14 that nobody can act on."""
    # The full mmcv, a limit of threads, an argument that has a new name.
    for message in ('Fail to import ``Multi', r'Setting (OMP|MKL)_NUM_T', '`broadcast_buffers`'):
        warnings.filterwarnings('ignore', message=message)
