"""Whether compiled blocks are compiled again once a run is under way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch._dynamo.utils import counters

from benchmarks.report import Report
from benchmarks.step import Stepper
from benchmarks.workload import Workload, build_model, make_batch
from nextvid_mm.models.algorithms import NextVid


def count_compilations(
    workload: Workload, steps: int = 10, device: str = 'cpu', backend: str = 'inductor'
) -> Report:
    """Train with compiled blocks on batches with other masks each, and count compilations.

    Args:
        workload: what to train.
        steps: after the first, which compiles.
        device: where.
        backend: of ``torch.compile``; ``aot_eager`` traces as much but generates no code.
    """
    torch._dynamo.reset()
    counters.clear()
    model: NextVid = build_model(workload, device)
    model.compile_blocks(backend=backend)
    stepper = Stepper(model, make_batch(workload))
    report = Report(
        'compilations',
        vars(workload) | dict(device=device, backend=backend),
        ('step', 'graphs so far', 'breaks so far', 'loss'),
    )
    for number in range(1 + steps):
        stepper.batch = make_batch(workload, seed=number)
        losses = stepper.step()
        graphs = counters['stats']['unique_graphs']
        breaks = sum(counters['graph_break'].values())
        shown = {'graphs so far': graphs, 'breaks so far': breaks}
        report.add(step=number, loss=sum(losses.values()), **shown)
    again = recompilations(report.rows)
    report.notes.append(
        f'{report.rows[0]["graphs so far"]} graphs in the first step, {again} in the {steps} after'
    )
    return report


def recompilations(rows: Sequence[dict]) -> int:
    """Graphs compiled after the first step."""
    return rows[-1]['graphs so far'] - rows[0]['graphs so far']
