"""Accuracy of a grid of probes, per spatial view and merged over views.

Shape legend: V views, G members, K classes, n samples.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from nextvid_mm.registry import METRICS

# Where a sample's file stands, the most certain first.
_PATHS = ('path', 'filename', 'img_path')


@dataclass(frozen=True)
class _Sample:
    """What is kept of a sample: small, whatever the number of classes."""

    index: int
    path: str
    label: int
    ranks: Tensor | None = None
    predicted: Tensor | None = None
    failure: str | None = None


@METRICS.register_module()
class ProbeMetric(BaseMetric):
    """Top-k and mean class accuracy of all members; the best by merged top-1 is the headline.

    Needs ``view_scores`` ``(V, G, K)`` and ``gt_label`` of every sample, as left by ``ProbeHead``.
    Samples are told apart by ``sample_idx``: what a distributed sampler repeats to fill up its
    last batch counts once. Samples whose video could not be decoded are marked ``failure``, not
    scored, and reported.

    Args:
        topk: k of the top-k accuracies.

    Attributes:
        details: everything of the last evaluation, as plain values; None except on the main
            process.
    """

    default_prefix = 'probe'

    def __init__(
        self, topk: Sequence[int] = (1, 5), collect_device: str = 'cpu', prefix: str | None = None
    ):
        super().__init__(collect_device, prefix)
        if 1 not in topk:
            raise ValueError(f'topk={tuple(topk)} of ProbeMetric must contain 1')
        self.topk = tuple(topk)
        self.members: list[str] = []
        self.fixed_member = 0
        self.num_classes = 0
        self.details: dict[str, Any] | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Rank the true class of each sample."""
        for number, sample in enumerate(data_samples, start=len(self.results)):
            scores = sample['view_scores'].float()
            self.members, self.fixed_member = sample['probe_members'], sample['fixed_member']
            self.num_classes = scores.shape[-1]
            index = sample.get('sample_idx', number)
            path = str(next((sample[key] for key in _PATHS if sample.get(key)), ''))
            label = int(sample['gt_label'])
            if sample.get('failure') is not None:
                self.results.append(_Sample(index, path, label, failure=sample['failure']))
                continue
            scores = torch.cat([scores, scores.mean(0, keepdim=True)])
            ranks, predicted = rank_of_label(scores, label), scores[-1].argmax(-1)
            self.results.append(_Sample(index, path, label, ranks.cpu(), predicted.cpu()))

    def evaluate(self, size: int) -> dict[str, float]:
        """Gather the samples of all processes, each once, and compute the metrics."""
        self.details = None
        self._size = size
        # The base class would cut the gathered list to `size`, which drops the right entries only
        # with MMEngine's own sampler.
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: list[_Sample]) -> dict[str, float]:
        """Metrics of the gathered samples.

        Raises:
            ValueError: if no sample could be decoded.
        """
        unique = {sample.index: sample for sample in results}
        samples = [unique[index] for index in sorted(unique)]
        scored = [sample for sample in samples if sample.failure is None]
        failed = [sample for sample in samples if sample.failure is not None]
        if not scored:
            reasons = '; '.join(f'{s.path}: {s.failure}' for s in failed[:3])
            raise ValueError(f'none of {len(samples)} samples could be evaluated. {reasons}')
        self._warn(samples, failed)
        self.details = self._details(
            torch.stack([sample.ranks for sample in scored]),
            torch.stack([sample.predicted for sample in scored]),
            torch.tensor([sample.label for sample in scored]),
        ) | dict(
            num_samples=len(scored), failed=[[sample.path, sample.failure] for sample in failed]
        )
        return self._scalars(self.details)

    def _details(self, ranks: Tensor, predicted: Tensor, labels: Tensor) -> dict[str, Any]:
        """All results of ``ranks (n, V + 1, G)``, ``predicted (n, G)`` and ``labels (n,)``."""
        accuracy = {k: (ranks < k).float().mean(0) * 100 for k in self.topk}
        best = int(accuracy[1][-1].argmax())
        confusion = multiclass_confusion_matrix(
            predicted[:, best], labels, num_classes=self.num_classes
        )
        per_class = 100 * confusion.diag() / confusion.sum(1).clamp(min=1)
        present = confusion.sum(1) > 0
        grid = {f'top{k}': accuracy[k][-1].double() for k in self.topk}

        def at(view: int, member: int) -> dict[str, float]:
            return {f'top{k}': float(accuracy[k][view, member]) for k in self.topk}

        return dict(
            best_member=best,
            fixed_member=self.fixed_member,
            grid={
                key: dict(mean=float(value.mean()), std=float(value.std(correction=0)))
                for key, value in grid.items()
            },
            members=[
                dict(
                    name=name,
                    merged=at(-1, g),
                    views=[at(v, g) for v in range(ranks.shape[1] - 1)],
                )
                for g, name in enumerate(self.members)
            ],
            mean_class=float(per_class[present].mean()),
            per_class=per_class.tolist(),
            confusion_matrix=confusion.tolist(),
        )

    def _scalars(self, details: dict[str, Any]) -> dict[str, float]:
        """The numbers for the log."""
        best = details['members'][details['best_member']]
        fixed = details['members'][details['fixed_member']]
        scalars = dict(best['merged'])
        scalars |= {f'fixed/{key}': value for key, value in fixed['merged'].items()}
        scalars['mean_class'] = details['mean_class']
        for number, view in enumerate(best['views']):
            scalars |= {f'view{number}/{key}': value for key, value in view.items()}
        for member in details['members']:
            scalars[f'grid/{member["name"]}'] = member['merged']['top1']
        for key, spread in details['grid'].items():
            scalars |= {f'grid_{kind}/{key}': value for kind, value in spread.items()}
        scalars |= {key: details[key] for key in ('best_member', 'num_samples')}
        return scalars | dict(num_failed=len(details['failed']))

    def _warn(self, samples: list[_Sample], failed: list[_Sample]) -> None:
        if failed:
            lines = '\n'.join(f'  {sample.path}: {sample.failure}' for sample in failed)
            print_log(
                f'{len(failed)} of {len(samples)} samples could not be decoded; accuracy is over '
                f'the other {len(samples) - len(failed)}:\n{lines}',
                'current',
                logging.WARNING,
            )
        if len(samples) != self._size:
            text = f'evaluated {len(samples)} different samples of a dataset of {self._size}'
            print_log(text, 'current', logging.WARNING)


class UnlabelledCount(BaseMetric):
    """No metric: says how many samples of an unlabelled data set were predicted, and which not."""

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note which sample was read."""
        for number, sample in enumerate(data_samples, start=len(self.results)):
            index, path = sample.get('sample_idx', number), str(sample.get('path', ''))
            self.results.append(_Sample(index, path, -1, failure=sample.get('failure')))

    def compute_metrics(self, results: list[_Sample]) -> dict[str, float]:
        """Numbers of the gathered samples."""
        samples = {sample.index: sample for sample in results}.values()
        failed = [sample for sample in samples if sample.failure is not None]
        if failed:
            lines = '\n'.join(f'  {sample.path}: {sample.failure}' for sample in failed)
            text = 'samples could not be decoded; their predictions, marked `failure`, mean nothing'
            print_log(
                f'{len(failed)} of {len(samples)} {text}:\n{lines}', 'current', logging.WARNING
            )
        return dict(num_samples=len(samples) - len(failed), num_failed=len(failed))


def rank_of_label(scores: Tensor, label: int) -> Tensor:
    """How many classes come before the true one; ties go to the lower class number.

    Args:
        scores: ``(..., K)``. A row that is not finite counts as wrong: its rank is K.
        label: the true class.

    Returns:
        ``(...)``, integers.
    """
    truth = scores[..., label, None]
    before = torch.arange(scores.shape[-1], device=scores.device) < label
    rank = ((scores > truth) | ((scores == truth) & before)).sum(-1)
    return torch.where(scores.isfinite().all(-1), rank, scores.shape[-1])
