"""Fills the table cell by cell; what is done is not done again."""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from torch import nn

from nextvid_mm.compare.anticipation import Curve, anticipate
from nextvid_mm.compare.cells import (
    PROTOCOLS,
    Cell,
    CellFolder,
    choose_labelled,
    read_record,
    refuse_difference,
)
from nextvid_mm.compare.corruptions import corruption_row
from nextvid_mm.compare.finetuning import finetune
from nextvid_mm.compare.frozen import NEIGHBOURS, STRENGTH, TEMPERATURE, FrozenFeatures
from nextvid_mm.engine.probe import build_probe
from nextvid_mm.engine.probe.features import cached_dataset, central_view, with_pipeline
from nextvid_mm.files import write_text
from nextvid_mm.models.checkpoints import read_checkpoint, stored_backbone
from nextvid_mm.models.checkpoints.encoder import weights_there
from nextvid_mm.registry import DATASETS, MODELS, SCOPE


@dataclass(frozen=True)
class Row:
    """An encoder of the table.

    Attributes:
        name: of the row.
        path: checkpoint, or where ``backbone`` is from.
        weights: ``reference``, ``encoder`` or ``untrained``.
        backbone: config of an encoder that brings its weights; None reads ``path``.
    """

    name: str
    path: str
    weights: str
    backbone: dict[str, Any] | None = None

    def build(self, config: Config, seed: int) -> nn.Module:
        """The ``ProbeRecognizer`` with the encoder."""
        torch.manual_seed(seed)  # of an untrained encoder's weights
        if self.backbone is not None:
            return build_probe(config, backbone=self.backbone)
        return build_probe(config, self.path, encoder_weights=self.weights)

    @property
    def size(self) -> int:
        """Pixels per side that the encoder is used with."""
        if self.backbone is not None:  # it may read its weights while it is built
            return int(MODELS.build(dict(self.backbone)).img_size)
        stored = stored_backbone(read_checkpoint(self.path)) or {}
        if 'img_size' in stored:
            return int(stored['img_size'])
        with torch.device('meta'):
            return int(MODELS.build(dict(stored)).img_size)


def choose_weights(path: str) -> str:
    """The reference where a checkpoint holds one, else the trained encoder.

    Raises:
        ValueError: if it holds no encoder, or does not say which.
    """
    checkpoint = read_checkpoint(path)
    found = weights_there(checkpoint)
    if not found or stored_backbone(checkpoint) is None:
        raise ValueError(
            f'{path} holds no encoder that is described: give a checkpoint of tools/train.py, a '
            'file of tools/convert_checkpoint.py, a folder of transformers, or a config'
        )
    return found[0]


class Evaluation:
    """Encoders, data sets, shares of labels and seeds, under one set of protocols.

    Args:
        rows: the encoders.
        data: probe configs by name.
        work_dir: cells and results go here.
        protocols: some of ``PROTOCOLS``.
        shares: of the labels, %.
        seeds: one cell for each.
        finetuning: fine-tuning configs by the name of the data set.
        cache: folder of features.
        interpolate: let encoders of another size than the data's clips take part.
        grid_once: attentive probes of the first seed are the whole grid; those of the others only
            the member that was best there.
        device: where the encoder runs; None takes the fastest there is.
        say: called with a line for every cell.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        data: Mapping[str, Config],
        work_dir: str | Path,
        protocols: Sequence[str] = ('knn', 'linear', 'attentive'),
        shares: Sequence[float] = (100.0,),
        seeds: Sequence[int] = (0,),
        finetuning: Mapping[str, Config] | None = None,
        cache: str | Path | None = None,
        interpolate: bool = False,
        grid_once: bool = False,
        device: str | None = None,
        say: Callable[[str], None] = print,
    ):
        init_default_scope(SCOPE)  # loaders are built without a Runner
        self.rows, self.work_dir = list(rows), Path(work_dir)
        self.data = {name: one_view(config) for name, config in data.items()}
        self.protocols, self.shares, self.seeds = list(protocols), list(shares), list(seeds)
        self.finetuning = dict(finetuning or {})
        self.cache = Path(cache or self.work_dir / 'features')
        self.grid_once, self.device, self.say = grid_once, device, say
        self.cells = CellFolder(self.work_dir / 'cells')
        self.labels = {name: labels_of(config) for name, config in self.data.items()}
        self._check(interpolate)

    def _check(self, interpolate: bool) -> None:
        """Everything that can be known before the first sample is encoded."""
        names = [row.name for row in self.rows]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'two encoders are called {twice[0]!r}: write NAME=FILE')
        if unknown := set(self.protocols) - set(PROTOCOLS):
            raise ValueError(f'{sorted(unknown)} are not protocols: {", ".join(PROTOCOLS)}')
        for name, labels in self.labels.items():
            for share in self.shares:
                choose_labelled(labels['train'], share, 0, labels['where'])
            if not interpolate:
                check_sizes(self.rows, labels['size'], name)
        if 'finetuned' in self.protocols:
            if missing := sorted(set(self.data) - set(self.finetuning)):
                raise ValueError(f'no fine-tuning config for {missing}: configs/finetune/NAME.py')
            if foreign := [row.name for row in self.rows if row.backbone is not None]:
                raise ValueError(f'{foreign[0]} cannot be fine-tuned here: it is no checkpoint')

    def run(self) -> list[dict[str, Any]]:
        """Fill what is missing; records of all cells of the work directory, older rows included.

        Raises:
            ValueError: if the folder holds cells of another budget.
        """
        for name, config in self.data.items():
            for row in self.rows:
                own_weights = row.weights == 'untrained'  # with every seed
                for seeds in [[seed] for seed in self.seeds] if own_weights else [self.seeds]:
                    self._fill(row, name, config, seeds)
        order = {row.name: place for place, row in enumerate(self.rows)}
        return sorted(self.cells.all(), key=lambda record: order.get(record['encoder'], len(order)))

    def _fill(self, row: Row, name: str, config: Config, seeds: Sequence[int]) -> None:
        """The cells of one encoder, which is built and run once."""
        features = FrozenFeatures(config, row.build(config, seeds[0]), self.cache, self.device)
        identity = features.model.origin.sha256
        for cell in self._cells(row, name, seeds):
            budget = self.budget(name, cell.protocol, cell.labels)
            if self.cells.read(cell, identity, budget) is not None:
                continue
            rows = choose_labelled(self.labels[name]['train'], cell.labels, cell.seed)
            if cell.protocol != 'finetuned':
                features.sets  # noqa: B018  encoded before the clock of the cell starts
            start = time.perf_counter()
            if cell.protocol == 'finetuned':
                found = self._finetune(row, name, rows, cell)
            else:
                member = self._member(cell)
                found = getattr(features, cell.protocol)(rows, cell.seed, **member)
            found |= dict(seconds=time.perf_counter() - start, encoding=features.seconds)
            self.cells.write(cell, identity, budget, samples=len(rows), path=row.path, **found)
            self.say(f'{cell}: {found["top1"]:.1f} % ({found["seconds"]:.1f} s)')

    def anticipate(
        self, shares: Sequence[float] = (), leads: Sequence[float] | None = None
    ) -> list[Curve]:
        """Curves of early recognition of all encoders on all data sets; see ``_measured``.

        Args:
            shares: of the clip that has been seen, %.
            leads: seconds before the action, in place of shares.

        Raises:
            ValueError: as of ``run``, or for a config with several segments or without such lists.
        """
        device = self.device or get_device()

        def measure(row: Row, name: str, model: Any) -> dict[str, Any]:
            return asdict(anticipate(row.name, name, self.data[name], model, shares, device, leads))

        if leads is None:
            found = self._measured('anticipation', measure, shares=list(shares))
        else:
            found = self._measured('lead_times', measure, leads=list(leads))
        return [Curve(**curve) for curve in found.values()]

    def corruptions(self) -> dict[str, dict[str, float]]:
        """Rows of ``corruption_row`` by encoder and data set; see ``_measured``."""

        def measure(row: Row, name: str, model: Any) -> dict[str, Any]:
            return corruption_row(FrozenFeatures(self.data[name], model, self.cache, self.device))

        return self._measured('corruptions', measure)

    def _measured(
        self, folder: str, measure: Callable[[Row, str, Any], dict[str, Any]], **settings: Any
    ) -> dict[str, dict[str, Any]]:
        """What is found for every encoder and data set, a file each; done ones are read.

        An untrained encoder has the weights of the first seed.

        Raises:
            ValueError: if a file is of another budget.
        """
        found = {}
        for name, config in self.data.items():
            for row in self.rows:
                path = self.work_dir / folder / row.name / f'{name}.json'
                start = time.perf_counter()
                model: Any = row.build(config, self.seeds[0])
                budget = self.budget(name, 'linear', 100.0) | settings
                budget['encoder'] = model.origin.sha256
                record = read_record(path)
                if record is not None:
                    refuse_difference(str(path), record['budget'], budget)
                else:
                    record = dict(budget=budget, found=measure(row, name, model))
                    record['seconds'] = time.perf_counter() - start
                    write_text(path, json.dumps(record, indent=1) + '\n')
                    self.say(f'{row.name}, {name}, {folder}: {record["seconds"]:.1f} s')
                found[f'{row.name}, {name}'] = record['found']
        return found

    def _cells(self, row: Row, name: str, seeds: Sequence[int]) -> Iterator[Cell]:
        for protocol in self.protocols:
            for share in self.shares:
                for seed in seeds:
                    yield Cell(row.name, name, protocol, share, seed)

    def _member(self, cell: Cell) -> dict[str, str]:
        """With ``grid_once``, the member of the grid that a cell is to train."""
        if not self.grid_once or cell.protocol != 'attentive' or cell.seed == self.seeds[0]:
            return {}
        first = json.loads(self.cells.path(replace(cell, seed=self.seeds[0])).read_text())
        return dict(member=first['best'])

    def _finetune(self, row: Row, name: str, rows: Sequence[int], cell: Cell) -> dict[str, Any]:
        config = copy.deepcopy(self.finetuning[name])
        encoder = None if row.weights == 'untrained' else row.path
        if encoder is not None:
            config.model.backbone.init_cfg.weights = row.weights
        folder = self.work_dir / 'finetuned' / f'{row.name}_{name}_{cell.labels:g}_{cell.seed}'
        return dict(top1=finetune(config, encoder, rows, cell.seed, folder))

    def budget(self, name: str, protocol: str, share: float) -> dict[str, Any]:
        """What a cell is given, whatever its encoder: data, clips, labels and training."""
        config = self.data[name]
        if protocol == 'finetuned':
            config = self.finetuning[name]
        settings: dict[str, Any] = dict(
            knn=dict(k=NEIGHBOURS, temperature=TEMPERATURE),
            linear=dict(strength=STRENGTH),
        ).get(protocol) or training_of(config)
        if self.grid_once and protocol == 'attentive':
            settings['grid'] = f'of seed {self.seeds[0]}'
        datasets = [cached_dataset(config, split) for split in ('train', 'val')]
        return dict(
            data=self.labels[name]['digest'],
            clips=digest(datasets if protocol != 'finetuned' else self._loaders(config)),
            size=self.labels[name]['size'],
            model={k: config.model.get(k) for k in ('layers', 'last_layers', 'num_segments')},
            settings=settings,
            labels=share,
        )

    @staticmethod
    def _loaders(config: Config) -> list[Any]:
        return [config[f'{split}_dataloader'].dataset for split in ('train', 'val')]


def training_of(config: Config) -> dict[str, Any]:
    """What a training is given, for a budget."""
    keys = ('cls_head', 'data_preprocessor')
    return dict(
        epochs=config.train_cfg.max_epochs,
        batch_size=config.train_dataloader.batch_size,
        rates_ahead=config.train_cfg.get('rates_ahead', 0),
        model=digest([config.model.get(key) for key in keys]),
        optim=digest([config.optim_wrapper, config.param_scheduler]),
    )


def digest(value: Any) -> str:
    """Hash of plain values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def one_view(config: Config) -> Config:
    """A probe config whose validation shows the central view only, as its cached training does."""
    config = copy.deepcopy(config)
    dataset = with_pipeline(config.val_dataloader.dataset)
    dataset.pipeline = [central_view(step) for step in dataset.pipeline]
    return config


def labels_of(config: Config) -> dict[str, Any]:
    """Labels of a data set, a digest of both lists, and pixels per side of its clips.

    Raises:
        ValueError: if a label is outside the classes.
    """
    found: dict[str, Any] = {}
    for split in ('train', 'val'):
        dataset = DATASETS.build(cached_dataset(config, split))
        dataset.check_labels(config.model.cls_head.num_classes)
        found[split] = np.asarray(dataset.labels)
        found[f'{split}_clip'] = dataset[0]['inputs'].shape if split == 'val' else None
        found.setdefault('where', dataset.names[0])
    found['size'] = [int(side) for side in found['val_clip'][-2:]]
    found['digest'] = digest([found['train'].tolist(), found['val'].tolist()])
    return found


def check_sizes(rows: Sequence[Row], size: Sequence[int], data: str) -> None:
    """Raise a ValueError with the first encoder that does not take clips of the data's size."""
    sizes = {row.name: row.size for row in rows}
    if wrong := {name: side for name, side in sizes.items() if [side, side] != list(size)}:
        name, side = next(iter(wrong.items()))
        raise ValueError(
            f'{name} is made for {side} x {side} px, but the clips of {data} are {size[1]} x '
            f'{size[0]} px: evaluate it on a config of its size and in another --work-dir, or '
            'give --interpolate, which stretches its positions'
        )
