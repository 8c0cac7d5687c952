"""Training a grid of probes: epochs that a killed run continues exactly."""

from __future__ import annotations

import copy
import itertools
import logging
import os
import warnings
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.progress import Progress, TaskID
from torch import nn

from nextvid_mm.datasets.request import derive_seed
from nextvid_mm.engine.allocator import freed_memory_kept
from nextvid_mm.engine.loops import run_seed, validates
from nextvid_mm.engine.probe.features import (
    MODE,
    FeatureCache,
    cached_dataset,
    cached_loader,
)
from nextvid_mm.engine.probe.results import RESULTS, read_record
from nextvid_mm.engine.processes import GuardedLoader, WaitStopped
from nextvid_mm.progress import progress_bar, quiet_log
from nextvid_mm.registry import (
    DATA_SAMPLERS,
    LOOPS,
    MODELS,
    SCOPE,
    build_runner,
)
from nextvid_mm.stopping import Stopped

# Keys that cached features leave without effect: of the data preprocessor, and of the loader.
_RANDOM = ('blending', 'batch_augments')
_FOREIGN = ('batch_sampler', 'num_batch_per_epoch', 'collate_fn')
_NUMBERS = itertools.count()


@LOOPS.register_module()
class ExactEpochLoop(EpochBasedTrainLoop):
    """MMEngine's epoch loop with a global batch size and exact resume, also inside an epoch.

    Everything random in a step follows from (seed, epoch, position in the epoch). A run resumed
    from a checkpoint of any step continues bit for bit, and reads no sample a second time.

    With ``features``, the encoder sees every training video once, through the pipeline of the
    validation videos with one central view; all epochs read the tokens it left on the disk.

    Args:
        dataloader: The config's ``train_dataloader``; its ``batch_size`` is that of all processes
            together, its sampler an ``EpochSampler``.
        val_begin: First epoch after which validation may run.
        val_interval: Epochs between validations; one follows the last epoch in any case.
        features: Folder of cached features (``--cache-features``); None trains online.
        rates_ahead: Steps by which learning rates run ahead: with 1, the first step has the rate
            of the second, as in V-JEPA 2's evaluation.

    Attributes:
        validated: As of :class:`~nextvid_mm.engine.loops.StageTrainLoop`.

    Raises:
        ValueError: If the batch does not divide into the processes, the optimiser accumulates
            gradients over several batches, or cached features are asked for in several processes
            or beside a key that they cannot honour.
    """

    validated = False

    def __init__(
        self,
        runner: Runner,
        dataloader: Mapping[str, Any],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        features: str | None = None,
        rates_ahead: int = 0,
    ) -> None:
        config = dict(dataloader)
        batch, world = config['batch_size'], runner.world_size
        if batch % world:
            raise ValueError(
                f'train_dataloader.batch_size={batch} is the batch of all processes together and '
                f'cannot be split evenly over {world}'
            )
        config['batch_size'] = batch // world
        config['sampler'] = dict(type='EpochSampler', shuffle=True) | dict(
            config.get('sampler') or {}
        )
        self.features, self.settings, self.rates_ahead = features, config, rates_ahead
        if features is not None:
            _check_cached(runner, config)
            config = config | dict(dataset=cached_dataset(runner.cfg, 'train'))
        super().__init__(runner, config, max_epochs, val_begin, val_interval)
        self.dataloader: Any = GuardedLoader(self.dataloader)

    @property
    def mode(self) -> str:
        """What records call the features that are trained on."""
        return 'online' if self.features is None else MODE

    def prepare(self) -> None:
        """Encode the training set, if features are to be cached; then read them instead of it."""
        if self.features is None:
            return
        runner, head = self.runner, self.runner.model.cls_head
        runner.call_hook('before_encoding')
        cache = FeatureCache(self.features, runner.model, cached_dataset(runner.cfg, 'train'))
        features = cache.load()
        if features is None:
            features = cache.fill(cached_loader(runner.cfg, 'train'))
        if self._iter == 0 and head.standardizer is not None:
            head.standardizer.fit(features.tokens)
        features = replace(features, metainfo=getattr(self.dataloader.dataset, 'metainfo', {}))
        seed = dict(dataset=features, seed=run_seed(runner))
        self.dataloader = features.loader(
            self.settings['batch_size'],
            DATA_SAMPLERS.build(self.settings['sampler'], default_args=seed),
            self.settings.get('drop_last', False),
        )
        runner.call_hook('after_encoding')

    def run(self) -> nn.Module:
        """Train from the runner's step to the last epoch, or until a hook stops it."""
        passes = getattr(self.runner.optim_wrapper, '_accumulative_counts', 1)
        if passes != 1:
            raise ValueError(
                f'optim_wrapper.accumulative_counts={passes} must be 1 with ExactEpochLoop, which '
                'may save after any pass and would lose the gradients kept so far. For less '
                'memory, lower train_dataloader.batch_size or take more processes, which share it'
            )
        try:
            self.runner.call_hook('before_train')
            self.prepare()
            if self._iter == 0:
                advance_rates(self.runner.param_schedulers or [], self.rates_ahead)
            with nullcontext() if self.features is None else freed_memory_kept():
                self._run_epochs()
        except BaseException:
            self.runner.call_hook('after_failure')
            raise
        self.runner.call_hook('after_train')
        return self.runner.model

    def _run_epochs(self) -> None:
        try:
            if self._epoch and self._done == 0 and not self.validated:
                self._validate_if_due()
            while self._epoch < self._max_epochs and not self.stop_training:
                self.run_epoch()
                self._validate_if_due()
        except WaitStopped:
            self.runner.call_hook('before_abandoned_step')

    def _validate_if_due(self) -> None:
        if not self.stop_training and validates(self, self._epoch, self._max_epochs):
            self.runner.val_loop.run()

    def past(self) -> dict[str, Any]:
        """What a checkpoint has to say: the position in an epoch follows from its length."""
        return dict(steps_per_epoch=len(self.dataloader))

    def check_past(self, meta: Mapping[str, Any]) -> None:
        """Compare with a checkpoint; of older ones, the position alone shows some other lengths.

        Raises:
            ValueError: If its epochs had another number of steps.
        """
        found, saved = len(self.dataloader), meta.get('steps_per_epoch')
        if saved not in (None, found) or not 0 <= meta['iter'] - meta['epoch'] * found <= found:
            raise ValueError(
                f'an epoch has {found} steps, but the checkpoint, after step {meta["iter"]} in '
                f'epoch {meta["epoch"] + 1}, was trained with {saved or "another number"}: samples '
                'would be left out or come twice. Resume with its train_dataloader.batch_size (and '
                'drop_last) and list. A new run, with load_from and without --resume, is free.'
            )

    @property
    def _done(self) -> int:
        """Steps of the present epoch that are done."""
        return self._iter - self._epoch * len(self.dataloader)

    def run_epoch(self) -> None:
        """Run the rest of an epoch; a hook that stops training leaves it unfinished."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._done
        sampler = self.dataloader.sampler
        sampler.seed = run_seed(self.runner)  # if drawn at random, resuming has brought it back
        sampler.set_epoch(self._epoch)
        sampler.set_skip(done * self.dataloader.batch_size)
        for index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(index, batch)
            if self.stop_training:
                return
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Run one optimiser step."""
        runner = self.runner
        runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        seed = derive_seed(run_seed(runner), self._iter, runner.rank)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # which MMAction2's batch blending draws from
        outputs = runner.model.train_step(data_batch, optim_wrapper=runner.optim_wrapper)
        step = dict(batch_idx=idx, data_batch=data_batch, outputs=outputs)
        runner.call_hook('after_micro_batch', **step)
        runner.call_hook('after_train_iter', **step)
        self._iter += 1


def advance_rates(schedulers: Iterable[Any], steps: int) -> None:
    """Let every schedule begin and end ``steps`` earlier, as ``train_cfg.rates_ahead`` asks for."""
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', message='.*before `optimizer.step')  # on purpose
        for scheduler in schedulers:
            scheduler.end += steps
            for _ in range(steps):
                scheduler.step()


def _check_cached(runner: Runner, loader: Mapping[str, Any]) -> None:
    """Raise if cached features would leave a key of the config without effect."""
    if runner.distributed:
        raise ValueError('--cache-features works in one process: start it without a launcher')
    preprocessor = runner.cfg.model.get('data_preprocessor') or {}
    ignored = [f'model.data_preprocessor.{k}' for k in _RANDOM if preprocessor.get(k) is not None]
    ignored += [f'train_dataloader.{key}' for key in _FOREIGN if loader.get(key) is not None]
    if ignored:
        raise ValueError(
            f'{", ".join(ignored)} would have no effect on cached features: remove it, or train '
            'without --cache-features'
        )


class _Bars(Hook):
    """Shows training and validation where the log is silent."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.training: TaskID | None = None
        self.validation = TaskID(0)

    def before_train_epoch(self, runner: Runner) -> None:
        if self.training is None:
            batches = len(runner.train_loop.dataloader)
            self.training = self.bars.add_task(
                'training the probes',
                total=runner.train_loop.max_epochs * batches,
                completed=runner.iter,
            )

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.bars.advance(self.training or TaskID(0))

    def before_val_epoch(self, runner: Runner) -> None:
        self.validation = self.bars.add_task('validation', total=len(runner.val_loop.dataloader))

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.bars.advance(self.validation)


def fit_probe(
    config: Config,
    encoder: str | Path | None,
    work_dir: str | Path,
    seed: int | None = None,
    features: str | Path | None = None,
    **model: Any,
) -> dict[str, Any]:
    """Train a config's probes on a frozen encoder, evaluate them, and return the record.

    Args:
        config: a complete probe config; it is not changed.
        encoder: checkpoint with the encoder; None for the config's own ``model.encoder``.
        work_dir: where ``probe.pth``, ``probe_results.json`` and the log go.
        seed: of an untrained encoder's weights, the probes' first weights, the order of samples;
            None for the config's own.
        features: folder of cached features; None trains as the config says.
        model: further keys of ``model``, such as ``encoder_weights='untrained'`` or
            ``single_frame=True``.

    Returns:
        The content of ``probe_results.json``: the last validation.

    Raises:
        Stopped: If a signal has ended the training.
    """
    cfg = copy.deepcopy(config)
    cfg.model.update(model)
    cfg.work_dir = str(work_dir)
    # MMEngine keeps loggers and visualizers by name: each training of a process has its own.
    cfg.experiment_name = f'{Path(work_dir).name}_{os.getpid()}_{next(_NUMBERS)}'
    if encoder is not None:
        cfg.model.encoder = str(encoder)
    if seed is not None:
        cfg.randomness = dict(cfg.get('randomness') or {}, seed=seed)
    if features is not None:
        cache_features(cfg, features)
    runner = build_runner(cfg)
    silent = all(handler.level > logging.INFO for handler in runner.logger.handlers)
    with progress_bar('batches', quiet=not silent, transient=True) as bars:
        runner.register_hook(_Bars(bars), priority='LOWEST')
        runner.train()
    for hook in runner.hooks:
        if name := getattr(hook, 'stopped_by', None):
            raise Stopped(name)
    return read_record(Path(work_dir) / RESULTS)


def cache_features(cfg: Config, folder: str | Path) -> None:
    """Make a probe config train on cached features.

    Raises:
        ValueError: If its training knows none.
    """
    if (cfg.get('train_cfg') or {}).get('type') != 'ExactEpochLoop':
        raise ValueError(
            f"--cache-features is for probe configs, with train_cfg.type='ExactEpochLoop'; found "
            f'train_cfg={cfg.get("train_cfg")}'
        )
    cfg.train_cfg.features = str(folder)


def build_probe(config: Mapping[str, Any], encoder: str | None = None, **model: Any) -> nn.Module:
    """Build a probe config's ``ProbeRecognizer`` with its encoder loaded; see :func:`fit_probe`."""
    settings = dict(copy.deepcopy(config['model']), _scope_=SCOPE, **model)
    if encoder is not None:
        settings['encoder'] = encoder
    probe = MODELS.build(settings)
    with quiet_log():
        probe.init_weights()
    return probe
