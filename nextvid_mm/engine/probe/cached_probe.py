"""Probing on cached features: the encoder sees every video once, the probes train on the tokens.

No random augmentation takes place in this mode, so that its numbers are not those of the online
protocol; results say which mode they come from.

Shape legend: n samples, B batch, V views, N tokens, C channels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from nextvid_mm.engine.probe.metric import ProbeMetric
from nextvid_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS


@dataclass(frozen=True)
class FeatureSet:
    """Tokens of a data set, in memory or mapped from a file.

    Attributes:
        tokens: ``(n, V, N, C)``.
        labels: ``(n,)``.
        samples: n data samples with ``gt_label``; only an evaluation needs them.
    """

    tokens: Tensor
    labels: Tensor
    samples: Sequence[BaseDataElement] = ()


@dataclass(frozen=True)
class ProbeSchedule:
    """How long and in which batches probes train on cached features.

    Attributes:
        epochs: passes over the training features.
        batch_size: videos per optimiser step.
        seed: of the probes' first weights and the order of the samples.
        optimizer: the config's ``optim_wrapper.optimizer``; ``GridAdamW`` by default.
    """

    epochs: int = 20
    batch_size: int = 48
    seed: int = 0
    optimizer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(
                f'epochs={self.epochs} and batch_size={self.batch_size} must be at least 1'
            )


@torch.no_grad()
def extract_features(
    model: nn.Module, batches: Iterable[dict], max_bytes: float = math.inf
) -> FeatureSet:
    """Run the frozen encoder of a ``ProbeRecognizer`` over batches once.

    Args:
        model: the recognizer; its data preprocessor is applied.
        batches: a data loader, or a list of its batches. Batches are not changed.
        max_bytes: of tokens; the batch that reaches it is the last.

    Returns:
        The features on the model's device.
    """
    tokens, samples, size = [], [], 0
    for batch in batches:
        tokens.append(torch.stack(list(model.views_of_batch(batch)), dim=1))
        samples.extend(model.data_preprocessor.cast_data(batch['data_samples']))
        size += tokens[-1].nbytes
        if size >= max_bytes:
            break
    return FeatureSet(torch.cat(tokens), torch.cat([s.gt_label for s in samples]), samples)


def train_probes(
    model: nn.Module,
    features: FeatureSet,
    schedule: ProbeSchedule,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Train the probes of ``model.cls_head`` from new weights, learning rates on a cosine to 0.

    Args:
        model: a ``ProbeRecognizer``.
        features: with one view per sample.
        schedule: epochs, batch size, seed.
        progress: called with the steps done and the steps of the whole training.
    """
    if features.tokens.shape[1] != 1:
        raise ValueError(
            f'probes train on one view per video, found {features.tokens.shape[1]} in the features'
        )
    torch.manual_seed(schedule.seed)
    head, tokens, labels = model.cls_head, features.tokens[:, 0], features.labels
    device = head.selected.device
    head.reset_parameters()
    if head.standardizer is not None:
        head.standardizer.fit(tokens)
    wrapper = dict(type='OptimWrapper', optimizer=dict(schedule.optimizer))
    build = OPTIM_WRAPPER_CONSTRUCTORS.build(
        dict(type='ProbeOptimWrapperConstructor', optim_wrapper_cfg=wrapper)
    )
    optimizer = build(model).optimizer
    peaks = [group['lr'] for group in optimizer.param_groups]
    total = schedule.epochs * math.ceil(len(labels) / schedule.batch_size)
    head.train()
    for step, rows in enumerate(_batches(len(labels), schedule)):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group['lr'] = peak * 0.5 * (1 + math.cos(math.pi * step / total))
        optimizer.zero_grad()
        picked = tokens[rows.to(tokens.device)].to(device)
        head.loss_by_feat(head(picked), labels[rows].to(device))['loss_cls'].backward()
        optimizer.step()
        if progress is not None:
            progress(step + 1, total)


def _batches(count: int, schedule: ProbeSchedule) -> Iterator[Tensor]:
    """Sample numbers of one optimiser step after the other."""
    order = torch.Generator().manual_seed(schedule.seed)
    for _ in range(schedule.epochs):
        yield from torch.randperm(count, generator=order).split(schedule.batch_size)


@torch.no_grad()
def evaluate_probes(model: nn.Module, features: FeatureSet, batch_size: int = 64) -> dict[str, Any]:
    """Details of ``ProbeMetric`` for the trained probes on cached features.

    Args:
        model: a ``ProbeRecognizer``.
        features: of the validation set, any number of views.
        batch_size: videos per pass; changes nothing but memory.
    """
    where = features.tokens.device
    return evaluate_parts(
        model,
        (
            FeatureSet(
                features.tokens[rows.to(where)],
                features.labels[rows],
                [features.samples[row] for row in rows],
            )
            for rows in torch.arange(len(features.labels)).split(batch_size)
        ),
    )


@torch.no_grad()
def evaluate_parts(model: nn.Module, parts: Iterable[FeatureSet]) -> dict[str, Any]:
    """The same for features that come part by part: one of them is in memory at a time.

    Args:
        model: a ``ProbeRecognizer``.
        parts: together the validation set.
    """
    head, metric, count = model.cls_head, ProbeMetric(), 0
    head.eval()
    for part in parts:
        samples = [sample.clone() for sample in part.samples]
        predicted = head.predict(part.tokens.unbind(1), samples)
        metric.process(None, [sample.to_dict() for sample in predicted])
        count += len(samples)
    metric.evaluate(count)
    details: Any = metric.details  # never None in a single process
    return details


def run_probe(
    model: nn.Module,
    train_batches: Iterable[dict],
    val_batches: Iterable[dict],
    schedule: ProbeSchedule | None = None,
) -> dict[str, Any]:
    """The whole protocol on cached features: encode, train the grid, evaluate.

    Args:
        model: a ``ProbeRecognizer`` whose encoder is in place (``init_weights`` has run).
        train_batches: labelled videos, one view each.
        val_batches: videos to evaluate on.
        schedule: epochs, batch size, seed.

    Returns:
        ``ProbeMetric.details`` with, besides, ``top1`` (best of the grid on validation, %),
        ``fixed_top1`` (of the fixed member, %), ``mode``, ``encoder`` (its origin) and ``seconds``
        per phase.
    """
    marks = [time.perf_counter()]
    train = extract_features(model, train_batches)
    val = extract_features(model, val_batches)
    marks.append(time.perf_counter())
    train_probes(model, train, schedule or ProbeSchedule())
    marks.append(time.perf_counter())
    details = evaluate_probes(model, val)
    marks.append(time.perf_counter())
    phases = ('encode', 'train', 'evaluate')
    members = details['members']
    return details | dict(
        top1=members[details['best_member']]['merged']['top1'],
        fixed_top1=members[details['fixed_member']]['merged']['top1'],
        mode='cached features',
        encoder=model.origin.as_dict() if model.origin is not None else None,
        seconds={
            name: end - start for name, start, end in zip(phases, marks, marks[1:], strict=False)
        },
    )
