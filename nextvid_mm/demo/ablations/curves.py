"""Probes of a run's moments: k-NN and attentive, both questions, the same for every row."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from nextvid_mm.config_files import find_config
from nextvid_mm.demo.ablations.results import HOW, Moment
from nextvid_mm.demo.run import PRETRAIN, PROBES, probe_settings
from nextvid_mm.engine.hooks.moments import FOLDER
from nextvid_mm.engine.probe.features import cached_loader
from nextvid_mm.engine.probe.training import build_probe, fit_probe
from nextvid_mm.evaluation.representation import effective_rank, feature_std, knn_accuracy

#: A fourth of the demo's grid: curves are probed at five moments.
GRID = {'model.cls_head.weight_decays': [0.1]}
_NEIGHBOURS = 10
_IN_PROCESS = dict(num_workers=0, persistent_workers=False)


class Prober:
    """The probes of both questions; videos are decoded once for all encoders.

    Args:
        options: overrides of both probe configs.
        threads: of PyTorch.
    """

    def __init__(self, options: Mapping[str, Any], threads: int = 1):
        self.threads = threads
        self.configs: dict[str, Config] = {}
        for question, path in PROBES.items():
            config = Config.fromfile(find_config(path))
            config.merge_from_dict(GRID | dict(options))
            for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
                loader.update(_IN_PROCESS)
            self.configs[question] = probe_settings(config)
        self._batches: dict[tuple[str, str], list[dict]] = {}

    def moment(
        self,
        costs: Mapping[str, Any],
        encoder: Path | None,
        folder: Path,
        seed: int,
        options: Mapping[str, Any] | None = None,
    ) -> Moment:
        """Probe one encoder.

        Args:
            costs: ``step``, ``clips``, ``cpu_seconds``, ``seconds`` and ``losses`` until here.
            encoder: file with it; None for an untrained one.
            folder: for what the probes leave.
            seed: of untrained weights and probes.
            options: overrides of the demo's pretraining config, for an untrained encoder.
        """
        torch.set_num_threads(self.threads)
        knn: dict[str, float] = {}
        top1: dict[str, float] = {}
        rank = std = math.nan
        for question, config in self.configs.items():
            config = copy.deepcopy(config)
            weights = 'untrained' if encoder is None else 'encoder'
            if encoder is None and config.model.backbone is None:
                demo = Config.fromfile(find_config(PRETRAIN))
                demo.merge_from_dict(dict(options or {}))
                config.model.backbone = demo.model.backbone
            record = fit_probe(
                config, encoder, folder / question, seed, folder / 'features',
                encoder_weights=weights,
            )  # fmt: skip
            top1[question] = record['top1']
            torch.manual_seed(seed)  # of untrained weights
            path = None if encoder is None else str(encoder)
            probe = build_probe(config, path, encoder_weights=weights).eval()
            train, val = (self._features(question, split, probe) for split in ('train', 'val'))
            knn[question] = knn_accuracy(train[0], train[1], val[0], val[1], _NEIGHBOURS)
            if question == HOW:
                rank, std = effective_rank(val[2]), feature_std(val[2])
        return Moment(**costs, knn=knn, top1=top1, rank=rank, std=std)

    def curve(self, run: Path, seed: int) -> list[Moment]:
        """Probe the moments that a pretraining left below its folder."""
        files = sorted((run / FOLDER).glob('step_*.json'), key=lambda path: int(path.stem[5:]))
        return [
            self.moment(
                json.loads(path.read_text(encoding='utf-8')),
                path.with_suffix('.pth'),
                run / 'probe' / path.stem,
                seed,
            )
            for path in files
        ]

    @torch.no_grad()
    def _features(self, question: str, split: str, probe: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Mean tokens ``(n, C)``, labels ``(n,)`` and some tokens ``(m, C)`` of a split."""
        key = question, split
        if key not in self._batches:
            self._batches[key] = list(cached_loader(self.configs[question], split))
        means, labels, some = [], [], []
        for batch in self._batches[key]:
            (tokens,) = probe.views_of_batch(batch)
            means.append(tokens.float().mean(1))
            some.append(tokens[:, ::8].float().flatten(0, 1))
            labels += [int(sample.gt_label) for sample in batch['data_samples']]
        return torch.cat(means), torch.tensor(labels), torch.cat(some)
