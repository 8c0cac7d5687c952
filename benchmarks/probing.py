"""What probing costs: the frozen encoder, and a grid of probes against one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import nn

from benchmarks.report import Report
from benchmarks.step import describe, settings_of
from benchmarks.timing import ratio, side_by_side
from benchmarks.workload import Workload
from nextvid_mm.engine.probe import ProbeOptimWrapperConstructor
from nextvid_mm.registry import MODELS, SCOPE

LRS = (5e-3, 1e-3)
DECAYS = (0.01, 0.1)


def compare_probing(
    workload: Workload,
    num_classes: int = 174,
    repeats: int = 5,
    device: str = 'cpu',
    clock: str = 'wall',
    lrs: Sequence[float] = LRS,
    weight_decays: Sequence[float] = DECAYS,
) -> Report:
    """Time feature extraction and one training step of a grid, of one probe, and of the grid's.

    Args:
        workload: encoder and batch; targets and masks do not matter.
        num_classes: of the probes.
        repeats: timed runs.
        device: where.
        clock: ``wall`` or ``cpu``.
        lrs: of the grid.
        weight_decays: of the grid.
    """
    grid = ProbeStep(workload, num_classes, lrs, weight_decays, device)
    single = ProbeStep(workload, num_classes, lrs[:1], weight_decays[:1], device)
    members = len(lrs) * len(weight_decays)

    def one_after_the_other() -> None:
        for _ in range(members):
            single.train()

    series = side_by_side(
        {
            'encoder, frozen': grid.extract,
            'one probe': single.train,
            f'grid of {members}': grid.train,
            f'{members} probes in turn': one_after_the_other,
        },
        repeats,
        1,
        clock,
        'probing',
    )
    report = Report(
        f'probe, one batch: {describe(workload)}',
        settings_of(workload, repeats, device, clock) | dict(members=members),
        ('what', 'median s', '±', 'clips/s', 'over the grid'),
    )
    for name, values in series.items():
        relative = ratio(values, series[f'grid of {members}']).median
        rates = {'clips/s': workload.batch / values.median, 'over the grid': relative}
        report.add(what=name, **values.row, **rates)
    return report


def build_recognizer(workload: Workload, num_classes: int, **head: Any) -> nn.Module:
    """Probes on the workload's encoder.

    Args:
        workload: encoder.
        num_classes: of the probes.
        head: further keys of the head.
    """
    config = workload.config()
    heads = config['backbone']['arch']['num_heads']
    cls_head = dict(type='ProbeHead', num_classes=num_classes, num_heads=heads, **head)
    kept = {key: config[key] for key in ('backbone', 'data_preprocessor')}
    return MODELS.build(dict(type='ProbeRecognizer', **kept, cls_head=cls_head))


class ProbeStep:
    """A probe recognizer with a batch of noise.

    Args:
        workload: encoder and batch.
        num_classes: of the probes.
        lrs: of the grid.
        weight_decays: of the grid.
        device: where.
    """

    def __init__(
        self,
        workload: Workload,
        num_classes: int,
        lrs: Sequence[float],
        weight_decays: Sequence[float],
        device: str,
    ):
        init_default_scope(SCOPE)
        torch.manual_seed(0)
        grid = dict(lrs=list(lrs), weight_decays=list(weight_decays))
        self.model: Any = build_recognizer(workload, num_classes, **grid).to(device).train()
        wrapper = ProbeOptimWrapperConstructor(dict(type='OptimWrapper'))(self.model)
        self.optimizer = wrapper.optimizer
        shape = (workload.batch, 1, 3, workload.frames, workload.pixels, workload.pixels)
        clips = torch.randint(0, 256, shape, dtype=torch.uint8)
        self.labels = torch.arange(len(clips), device=device) % num_classes
        batch = dict(inputs=list(clips), data_samples=None)
        self.inputs = self.model.data_preprocessor(batch, training=True)['inputs']
        self.tokens = self.extract()

    @torch.no_grad()
    def extract(self) -> torch.Tensor:
        """Tokens of the batch, as the probes see them."""
        return next(iter(self.model.views(self.inputs)))

    def train(self) -> None:
        """One step on cached tokens."""
        head = self.model.cls_head
        self.optimizer.zero_grad()
        head.loss_by_feat(head(self.tokens), self.labels)['loss_cls'].backward()
        self.optimizer.step()
