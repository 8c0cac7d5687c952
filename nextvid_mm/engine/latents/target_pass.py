"""Runs the target generator of a config over its training clips, outside of training."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import Tensor, nn
from torch.utils.data import DataLoader

from nextvid_mm.datasets import collate_clips
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.layers import ClipBatch
from nextvid_mm.models.algorithms import preprocessor_config
from nextvid_mm.registry import DATASETS, MODELS, SCOPE

# Masks are drawn anew in training: here they would only cost time.
_NOT_NEEDED = ('FrameIsolatedMasking', 'TubeMasking')


class Batch(NamedTuple):
    """Clips as the model gets them."""

    clip: Tensor
    """``(B, 3, T_video, height, width)`` in [-1, 1]."""
    batch: ClipBatch
    """What comes with them."""


class TargetPass:
    """The parts of a config that targets come from.

    Args:
        cfg: a pretraining config with a mixture and a target generator.
        device: where the target generator runs.
        keep_flips: leave ``Flip`` in the sources' pipelines.
        overrides: replace keys of ``model.target_generator``.

    Raises:
        ValueError: if the config lacks one of the parts.
        FileNotFoundError: if data or weights are missing.
    """

    def __init__(
        self,
        cfg: Config,
        device: str = 'cpu',
        keep_flips: bool = True,
        overrides: dict[str, Any] | None = None,
    ) -> None:
        self.device = torch.device(device)
        settings = cfg.model.get('target_generator')
        dataset = cfg.train_dataloader.dataset
        if settings is None or dataset.type.rpartition('.')[2] != 'MixtureDataset':
            raise ValueError(
                'targets need model.target_generator and train_dataloader.dataset.type='
                f'MixtureDataset, found {settings} and {dataset.type}'
            )
        with DefaultScope.overwrite_default_scope(SCOPE):
            self.dataset = DATASETS.build(_without_masks(dataset, keep_flips))
            self.preprocessor = MODELS.build(preprocessor_config(cfg.model.data_preprocessor))
            self.target: nn.Module = MODELS.build(dict(settings, **overrides or {}))
        self.target.init_weights()
        self.target.eval().to(self.device)
        self.preprocessor.to(self.device)
        self.workers = int(cfg.train_dataloader.get('num_workers', 0))

    def batches(self, requests: Sequence[ClipRequest], batch_size: int) -> Iterator[Batch]:
        """Load clips in the order asked for.

        Args:
            requests: the clips; those of one batch need the same number of frames.
            batch_size: clips per batch.
        """
        groups = [requests[i : i + batch_size] for i in range(0, len(requests), batch_size)]
        loader: DataLoader = DataLoader(
            self.dataset,
            batch_sampler=groups,
            num_workers=min(self.workers, len(groups)),
            collate_fn=collate_clips,
        )
        for batch in loader:
            data = self.preprocessor(batch, training=False)
            yield Batch(data['inputs'].flatten(0, 1), data['data_samples'])


def frames_of(cfg: Config) -> list[int]:
    """The numbers of video frames that a config trains with, each once."""
    table = StageTable(cfg.train_cfg.stages)
    return sorted({stage.num_frames for stage in table.stages})


def _without_masks(dataset: Any, keep_flips: bool) -> Any:
    """A mixture's config with only what targets depend on."""
    dataset = copy.deepcopy(dataset)
    steps = dataset.get('pipeline') or []
    dataset['pipeline'] = [step for step in steps if _kind(step) not in _NOT_NEEDED]
    if not keep_flips:
        for source in dataset['sources']:
            inner = source['dataset']
            inner['pipeline'] = [step for step in inner['pipeline'] if _kind(step) != 'Flip']
    return dataset


def _kind(step: Any) -> str:
    return step['type'].rpartition('.')[2]
