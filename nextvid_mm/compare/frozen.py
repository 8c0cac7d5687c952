"""Protocols on features of a frozen encoder, which is run once for all of them.

Shape legend: n samples, N tokens, C channels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn

from nextvid_mm.datasets.request import ClipRequest, derive_seed
from nextvid_mm.datasets.samplers import EpochSampler
from nextvid_mm.engine.allocator import freed_memory_kept
from nextvid_mm.engine.probe import ProbeMetric, ProbeOptimWrapperConstructor
from nextvid_mm.engine.probe.features import (
    FeatureCache,
    FeatureSet,
    cached_dataset,
    cached_loader,
)
from nextvid_mm.engine.probe.training import advance_rates
from nextvid_mm.evaluation.representation import knn_accuracy, linear_accuracy
from nextvid_mm.progress import quiet_log, track
from nextvid_mm.registry import MODELS, SCOPE

NEIGHBOURS, TEMPERATURE, STRENGTH = 20, 0.07, 1.0
SPLITS = ('train', 'val')
_ROWS = 64  # of a file of tokens read at once


class FrozenFeatures:
    """Tokens of a data set's training and validation samples, and the protocols on them.

    Args:
        config: a probe config; its validation pipeline has one view, see ``one_view``.
        model: a ``ProbeRecognizer`` with its encoder in place.
        cache: folder of features.
        device: where the encoder and the probes run; None takes the fastest there is.
    """

    def __init__(
        self, config: Config, model: nn.Module, cache: str | Path, device: str | None = None
    ):
        self.config, self.model, self.cache = config, model, Path(cache)
        self.device = device or get_device()
        self.seconds: dict[str, float] = {}

    def tokens(self, split: str) -> FeatureSet:
        """Features of ``train`` or ``val``: from the cache, or encoded now."""
        model = self.model.to(self.device).eval()
        cache = FeatureCache(self.cache, model, cached_dataset(self.config, split))
        start = time.perf_counter()
        found = cache.load()
        if found is None:
            found = cache.fill(cached_loader(self.config, split))
            self.seconds[split] = time.perf_counter() - start
        return found

    @cached_property
    def sets(self) -> dict[str, FeatureSet]:
        """Both splits."""
        return {split: self.tokens(split) for split in SPLITS}

    @cached_property
    def means(self) -> dict[str, Tensor]:
        """Mean token ``(n, C)`` of every sample, by split."""
        return {split: mean_tokens(features) for split, features in self.sets.items()}

    @cached_property
    def _standardizer(self) -> Mapping[str, Tensor] | None:
        """State after all training features, labelled or not; None if the config asks for none."""
        head = self._head(0)
        if head.standardizer is None:
            return None
        head.standardizer.fit(self.sets['train'].tokens)
        return copy.deepcopy(head.standardizer.state_dict())

    def pooled(self, rows: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean tokens and labels of the chosen training samples, and of readable validation."""
        train, val = (torch.tensor(self.sets[split].labels) for split in SPLITS)
        there = [row for row in range(len(val)) if row not in self.sets['val'].failed]
        return self.means['train'][rows], train[rows], self.means['val'][there], val[there]

    def knn(self, rows: Sequence[int], seed: int = 0) -> dict[str, Any]:
        """Accuracy of the nearest neighbours by mean token."""
        del seed  # nothing is drawn
        return dict(top1=knn_accuracy(*self.pooled(rows), NEIGHBOURS, TEMPERATURE))

    def linear(self, rows: Sequence[int], seed: int = 0) -> dict[str, Any]:
        """Accuracy of logistic regression on the mean token."""
        del seed
        return dict(top1=linear_accuracy(*self.pooled(rows), STRENGTH))

    def attentive(
        self, rows: Sequence[int], seed: int = 0, member: str | None = None
    ) -> dict[str, Any]:
        """Accuracy of the config's grid of attentive probes: the best, and the fixed member.

        It is the training of ``fit_probe`` with cached features, without a Runner: the same
        first weights, order of samples and rates.

        Args:
            rows: the training samples.
            seed: of first weights and order.
            member: the only one of the grid that is trained, by name; None trains all.
        """
        details = self.score(self.fit(rows, seed, member))
        best, fixed = details['best_member'], details['fixed_member']
        top1 = [member['merged']['top1'] for member in details['members']]
        return dict(top1=top1[best], fixed_top1=top1[fixed], best=details['members'][best]['name'])

    def fit(self, rows: Sequence[int], seed: int, member: str | None = None) -> Any:
        """Train a ``ProbeHead`` on the chosen training samples; see ``attentive``."""
        head = self._head(seed, member)
        if head.standardizer is not None and self._standardizer is not None:
            head.standardizer.load_state_dict(self._standardizer)
        loader, epochs = self.config.train_dataloader, self.config.train_cfg.max_epochs
        train = replace(self.sets['train'], rows=list(rows))
        sampler = EpochSampler(train, shuffle=True, seed=seed)
        batches = train.loader(loader['batch_size'], sampler, loader.get('drop_last', False))
        wrapped: Any = SimpleNamespace(cls_head=head)
        optim = ProbeOptimWrapperConstructor(self._optim)(wrapped)
        schedules = build_schedules(self.config.param_scheduler, optim, epochs, len(batches))
        advance_rates(
            schedules[False] + schedules[True], self.config.train_cfg.get('rates_ahead', 0)
        )
        step = 0
        with freed_memory_kept():
            for epoch in track(range(epochs), 'attentive probes', 'epochs'):
                head.train()
                sampler.set_epoch(epoch)
                for batch in batches:
                    torch.manual_seed(derive_seed(seed, step, 0))
                    with optim.optim_context(head):
                        tokens = batch['tokens'].to(self.device)
                        losses = head.loss(tokens, batch['data_samples'])
                    optim.update_params(losses['loss_cls'])
                    for schedule in schedules[False]:
                        schedule.step()
                    step += 1
                for schedule in schedules[True]:
                    schedule.step()
        return head.eval()

    @torch.no_grad()
    def score(self, head: Any, features: FeatureSet | None = None) -> dict[str, Any]:
        """``ProbeMetric.details`` of probes on validation features, or on others."""
        features = self.sets['val'] if features is None else features
        metric = ProbeMetric()
        for start in range(0, len(features), _ROWS):
            numbers = range(start, min(start + _ROWS, len(features)))
            batch = features.__getitems__([ClipRequest(row, 0, row, 0, 0) for row in numbers])
            samples = head.predict([batch['tokens'].to(self.device)], batch['data_samples'])
            metric.process(None, [sample.to_dict() for sample in samples])
        metric.evaluate(len(features))
        assert metric.details is not None  # one process
        return metric.details

    @property
    def _optim(self) -> dict[str, Any]:
        settings = dict(self.config.optim_wrapper)
        settings.pop('constructor', None)
        return settings

    def _head(self, seed: int, member: str | None = None) -> Any:
        channels = self.model.backbone.embed_dims
        settings = dict(in_channels=channels) | copy.deepcopy(dict(self.config.model.cls_head))
        if member is not None:
            (lr, decay), *_ = (m for m in self._head(seed).members if m.name == member)
            settings.update(lrs=[lr], weight_decays=[decay], fixed_member=None)
        torch.manual_seed(seed)
        head = MODELS.build(dict(settings, _scope_=SCOPE))
        with quiet_log():
            head.init_weights()
        return head.to(self.device)


def mean_tokens(features: FeatureSet) -> Tensor:
    """Mean over the tokens of every sample ``(n, C)``, float32."""
    parts = features.tokens.split(_ROWS)
    return torch.cat([part.float().mean(1) for part in parts])


def build_schedules(settings: Any, optim: Any, epochs: int, length: int) -> dict[bool, list[Any]]:
    """A config's schedules as the Runner builds them, by whether they step once an epoch."""
    settings = settings if isinstance(settings, list | tuple) else [settings]
    found: dict[bool, list[Any]] = {True: [], False: []}
    for each in filter(None, settings):
        each = dict(each)
        kind, by_epoch = PARAM_SCHEDULERS.get(each.pop('type')), each.get('by_epoch', True)
        convert = each.pop('convert_to_iter_based', False)
        each.setdefault('end', epochs if by_epoch else epochs * length)
        if convert:
            each = dict(each, epoch_length=length)
        build = kind.build_iter_from_epoch if convert else kind
        found[by_epoch and not convert].append(build(optim, **each))
    return found
