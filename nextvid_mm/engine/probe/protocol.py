"""The probe protocol of a config, on cached features and in one call."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner, set_random_seed
from torch import nn

from nextvid_mm.engine.probe.cached_probe import ProbeSchedule, run_probe
from nextvid_mm.registry import MODELS, SCOPE


def load_batches(config: Config) -> tuple[list[dict], list[dict]]:
    """Decode the training and validation videos of a probe config into memory, once.

    Training videos go through the pipeline of the validation videos: cached features cannot be
    augmented. Meant for sets of some thousand small videos, to probe several encoders on.

    Args:
        config: a probe config.

    Returns:
        Batches of the training set and of the validation set.
    """
    loaders = (cached_loader(config, 'train'), cached_loader(config, 'val'))
    return list(loaders[0]), list(loaders[1])


def cached_loader(config: Config, split: str) -> torch.utils.data.DataLoader:
    """Loader over ``split`` (``train`` or ``val``) in order and without augmentation."""
    settings = copy.deepcopy(config[f'{split}_dataloader'])
    settings.update(sampler=dict(type='DefaultSampler', shuffle=False), persistent_workers=False)
    settings.batch_size = config.val_dataloader.batch_size
    settings.dataset = cached_dataset(config, split)
    return Runner.build_dataloader(settings, seed=0)


def cached_dataset(config: Config, split: str) -> dict[str, Any]:
    """Config of a split's data set with nothing random in its pipeline.

    Args:
        config: a probe config.
        split: ``val`` for the validation set as it is; ``train`` for the training set with the
            validation pipeline, cut down to the central view.
    """
    dataset = copy.deepcopy(config[f'{split}_dataloader'].dataset)
    if split == 'train':
        pipeline = innermost_dataset(copy.deepcopy(config.val_dataloader.dataset)).pipeline
        innermost_dataset(dataset).pipeline = [_one_view(step) for step in pipeline]
    return dataset


def innermost_dataset(dataset: Any) -> Any:
    """The config with list and pipeline, inside of any wrappers."""
    return innermost_dataset(dataset.dataset) if 'dataset' in dataset else dataset


def _one_view(step: dict[str, Any]) -> dict[str, Any]:
    scope, _, kind = str(step['type']).rpartition('.')
    return dict(step, type=f'{scope}.CenterCrop') if kind == 'ThreeCrop' else step


def probe_encoder(
    config: Config | str | Path,
    encoder: str | None = None,
    seed: int = 0,
    batches: tuple[list[dict], list[dict]] | None = None,
    device: str | torch.device = 'cpu',
    **overrides: Any,
) -> dict[str, Any]:
    """Probe one encoder under a config, on cached features.

    Args:
        config: a probe config or its path; epochs, batch size and grid are taken from it.
        encoder: checkpoint with the encoder; None for the config's own ``model.encoder``.
        seed: of an untrained encoder's weights, the probes' first weights, the order of samples.
        batches: decoded videos from ``load_batches``, to probe several encoders; None decodes.
        device: where to compute.
        overrides: further keys of ``model``, such as ``encoder_weights='untrained'`` or
            ``single_frame=True``.

    Returns:
        See ``run_probe``.
    """
    config = Config.fromfile(config) if isinstance(config, str | Path) else config
    if batches is None:
        batches = (cached_loader(config, 'train'), cached_loader(config, 'val'))
    set_random_seed(seed)
    model = build_probe(config, encoder, **overrides).to(device)
    schedule = ProbeSchedule(
        epochs=config.train_cfg.max_epochs,
        batch_size=config.train_dataloader.batch_size,
        seed=seed,
    )
    return run_probe(model, *batches, schedule)


def build_probe(config: Config, encoder: str | None = None, **overrides: Any) -> nn.Module:
    """Build a config's ``ProbeRecognizer`` with its encoder loaded."""
    settings = dict(copy.deepcopy(config.model), _scope_=SCOPE, **overrides)
    if encoder is not None:
        settings['encoder'] = encoder
    model = MODELS.build(settings)
    with quiet():
        model.init_weights()
    return model


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back MMEngine's report of several lines per initialised parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
