"""Peak memory of a step, each in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch

from benchmarks.report import Report
from benchmarks.resident import peak_since, start_measuring
from benchmarks.step import describe, make_stepper, settings_of
from benchmarks.workload import Workload

MIB = 2**20
# A new interpreter: a fork would share pages, and cannot use a GPU that its parent has touched.
START = 'spawn'


def peak_memory(kind: str, workload: Workload, device: str = 'cpu', steps: int = 2) -> int:
    """Bytes of training at its peak: weights, optimiser state, activations.

    Measured in a new process, from the moment everything but the model is loaded. On a CPU it is
    the growth of the resident set's peak, on a GPU what PyTorch has allocated.

    Args:
        kind: ``ours``, ``dense`` or ``folded``.
        workload: what to train.
        device: where.
        steps: optimiser steps; the optimiser has its state from the first on.
    """
    return in_new_process(_measure, kind, workload, device, steps)


def in_new_process(measure: Callable[..., int], *arguments: Any) -> int:
    """What ``measure(*arguments)`` returns in a process of its own with as many threads.

    Raises:
        RuntimeError: If the process died.
    """
    context: Any = multiprocessing.get_context(START)
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(
        target=_send, args=(sender, torch.get_num_threads(), measure, arguments)
    )
    child.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(
            f'the process that measures memory ended with exit code {child.exitcode}; -9 means '
            'that the machine has too little of it'
        ) from None
    finally:
        child.join()


def _send(
    sender: Connection, threads: int, measure: Callable[..., int], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(threads)
    sender.send(measure(*arguments))


def _measure(kind: str, workload: Workload, device: str, steps: int) -> int:
    smallest = Workload(frames=4, batch=1)
    make_stepper(kind, smallest, device).step()  # loads libraries and kernels
    before = start_measuring()
    stepper = make_stepper(kind, workload, device)
    for _ in range(steps):
        stepper.step()
    return peak_since(before, device)


def compare_memory(
    workload: Workload,
    device: str = 'cpu',
    baselines: tuple[str, ...] = ('dense', 'folded'),
    repeats: int = 1,
) -> Report:
    """Peak memory of ours, with and without light recomputation, and of the baselines."""
    report = Report(
        f'peak memory of a pretraining step, {describe(workload)}',
        settings_of(workload, repeats, device, 'none'),
        ('step', 'MiB', 'ours over this'),
    )
    rows = [
        ('ours', replace(workload, with_cp=False)),
        ('ours', replace(workload, with_cp='light')),
    ]
    rows += [(kind, replace(workload, with_cp=False)) for kind in baselines]
    for kind, load in rows:
        peaks = sorted(peak_memory(kind, load, device) for _ in range(repeats))
        name = f'with_cp={load.with_cp!r}' if kind == 'ours' else f'baseline, {kind} decoder masks'
        report.add(**{'step': f'{kind}, {name}' if kind == 'ours' else name}, bytes=peaks)
    lightest = report.rows[1]['bytes']
    for row in report.rows:
        middle = row['bytes'][len(row['bytes']) // 2]
        row['MiB'] = round(middle / MIB)
        row['ours over this'] = lightest[len(lightest) // 2] / middle
    report.notes.append("'ours over this': ours with with_cp='light' over the row")
    return report
