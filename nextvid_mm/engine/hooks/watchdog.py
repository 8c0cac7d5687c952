"""Ends a run that does not get on, and says which process hangs where."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.registry import HOOKS
from nextvid_mm.stopping import ERROR

HANG = 'hang.rank{}.txt'
# Where a process stands that waits for others: in a collective, or in a backward pass that reduces.
_WAITING = ('torch/distributed/', 'torch/autograd/', 'mmengine/dist/')
# Processes notice a hang at slightly different moments.
_GRACE_SECONDS = 10.0
# Between two looks, at most.
_PAUSE_SECONDS = 10.0


@HOOKS.register_module()
class WatchdogHook(Hook):
    """Looks whether the run gets on: a micro-batch, a step, a batch of a validation, a save.

    If nothing of this has happened for ``limit`` seconds, every process writes the stacks of all
    its threads to ``hang.rankN.txt`` in the work directory, and ends with a line that names the
    process that hangs and its machine. Whoever has started the processes (``torchrun``, Slurm)
    can start them again.

    Args:
        limit: Seconds without progress. More than the longest save, validation batch or
            compilation.

    Raises:
        ValueError: If ``limit`` is not positive.
    """

    # First, so that every other hook counts as work.
    priority = 'HIGHEST'

    def __init__(self, limit: float = 1800.0) -> None:
        if not limit > 0:
            raise ValueError(f'WatchdogHook.limit={limit} must be larger than 0')
        self.limit = limit
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._last, self._step, self._rank = 0.0, 0, 0
        self._hosts: Sequence[str] = ()

    def before_train(self, runner: Runner) -> None:
        """Start looking."""
        self._rank = runner.rank
        self._hosts = all_gather_object(socket.gethostname())
        _file(runner.work_dir, self._rank).unlink(missing_ok=True)
        self._done = threading.Event()
        self._beat(runner)
        words = (runner, threading.get_ident(), self._done)
        self._thread = threading.Thread(target=self._look, args=words, daemon=True)
        self._thread.start()

    def after_train(self, runner: Runner) -> None:
        """Stop looking."""
        if self._thread is not None:
            self._done.set()
            self._thread.join()  # it may be about to set the library's timer
            faulthandler.cancel_dump_traceback_later()

    def after_failure(self, runner: Runner) -> None:
        """Stop looking."""
        self.after_train(runner)

    def before_encoding(self, runner: Runner) -> None:
        """Stop looking: nobody says how that gets on; called by ``ExactEpochLoop``."""
        self.after_train(runner)

    def after_encoding(self, runner: Runner) -> None:
        """Look again."""
        self.before_train(runner)

    def _beat(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self._last, self._step = time.monotonic(), runner.iter

    before_train_iter = after_micro_batch = after_train_iter = _beat
    after_val_iter = after_val_epoch = before_save_checkpoint = _beat

    def _look(self, runner: Runner, main: int, done: threading.Event) -> None:
        pause = min(self.limit / 4, _PAUSE_SECONDS)
        while not done.wait(pause):
            # If native code keeps this thread from running, the library's own timer ends it all.
            # `sys.stderr` of a notebook is no file.
            seconds = self.limit + 4 * _GRACE_SECONDS
            faulthandler.dump_traceback_later(seconds, exit=True, file=2)
            if time.monotonic() - self._last > self.limit:
                self._end(runner, main)

    def _end(self, runner: Runner, main: int) -> None:
        frame = sys._current_frames().get(main)
        path = _file(runner.work_dir, self._rank)
        place, waits = _where(frame)
        with open(path, 'w', encoding='utf-8') as file:
            head = dict(rank=self._rank, node=socket.gethostname(), step=self._step + 1)
            file.write(json.dumps(head | dict(place=place, waits=waits)) + '\n')
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
        until = time.monotonic() + _GRACE_SECONDS
        while len(heads := _heads(runner.work_dir, len(self._hosts))) < len(self._hosts):
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        text = describe(heads, self._hosts, self.limit)
        if self._rank == 0:
            runner.logger.error(text)
        print(f'rank {self._rank}: error: {text}', file=sys.stderr, flush=True)
        os._exit(ERROR)


def describe(heads: Mapping[int, Mapping[str, Any]], hosts: Sequence[str], limit: float) -> str:
    """One line about a hang: who hangs where, who waits.

    Args:
        heads: what each process has written, by rank; a stopped process has written nothing.
        hosts: machine of each rank.
        limit: seconds without progress.
    """
    step = next((head['step'] for head in heads.values()), '?')
    silent = [rank for rank in range(len(hosts)) if rank not in heads]
    busy = [rank for rank, head in heads.items() if not head['waits']]
    lines = [f'rank {rank} on {hosts[rank]} is stopped or gone' for rank in silent]
    lines += [f'rank {rank} on {hosts[rank]} hangs in {heads[rank]["place"]}' for rank in busy]
    if not lines:
        lines = ['all ranks wait for each other: the network, or a rank that skipped a step']
    waiting = [str(rank) for rank, head in heads.items() if head['waits']]
    more = f'; rank(s) {", ".join(waiting)} wait for it' if waiting and (silent or busy) else ''
    return (
        f'step {step}: no progress in {limit:g} s (WatchdogHook.limit): {"; ".join(lines)}{more}. '
        f'Stacks: {HANG.format("N")} in the work directory. --resume continues the run'
    )


def _file(work_dir: str, rank: int) -> Path:
    return Path(work_dir) / HANG.format(rank)


def _heads(work_dir: str, count: int) -> dict[int, dict[str, Any]]:
    found = {}
    for rank in range(count):
        path = _file(work_dir, rank)
        text = path.read_text(encoding='utf-8') if path.is_file() else ''
        if '\n' in text:  # else it is just being written
            found[rank] = json.loads(text.partition('\n')[0])
    return found


def _where(frame: FrameType | None) -> tuple[str, bool]:
    """Where a thread stands, and whether it waits there for other processes."""
    if frame is None:
        return 'an unknown place', False
    place = f'{Path(frame.f_code.co_filename).name}:{frame.f_lineno} ({frame.f_code.co_name})'
    waits, outer = False, frame
    while outer is not None and not waits:
        waits = any(part in outer.f_code.co_filename for part in _WAITING)
        outer = outer.f_back  # type: ignore[assignment]
    return place, waits
