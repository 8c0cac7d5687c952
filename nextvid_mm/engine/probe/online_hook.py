"""Cheap accuracies of the frozen encoder while it is being pretrained."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from nextvid_mm.checks import check_count
from nextvid_mm.config_files import checked_config
from nextvid_mm.datasets.request import derive_seed, isolated_rng
from nextvid_mm.engine.clock import spent_on
from nextvid_mm.engine.hooks.health import encode_frozen
from nextvid_mm.engine.probe.features import cached_dataset
from nextvid_mm.evaluation.representation import knn_accuracy, linear_accuracy
from nextvid_mm.layers import resolve_dtype
from nextvid_mm.registry import DATASETS, HOOKS, unwrap

_SPLITS = ('train', 'val')


@HOOKS.register_module()
class OnlineProbeHook(Hook):
    """Every ``interval`` steps, how well frozen features tell the classes of a small set apart.

    On the mean token of each clip, a k-nearest-neighbour classifier and a linear one (logistic
    regression), fitted on some labelled videos and tested on others, neither from the data that
    is trained on now. For the encoder and, where there is one, the reference encoder. A first
    measurement before the first step is the level of untrained features: accuracies that stay
    there, or fall back to it, say that the run learns nothing or has collapsed.

    TensorBoard shows ``online_probe/knn_encoder``, ``knn_reference``, ``linear_encoder`` and
    ``linear_reference`` (%) and ``online_probe/seconds`` beside the losses.

    Measuring draws from no random stream of the training and leaves the model as it was: training
    goes on, and resumes, bit for bit as without this hook. Videos are decoded once and kept in
    memory, as bytes. Process 0 alone does all this, unless the model is sharded.

    Args:
        interval: Steps between measurements; one follows the last step.
        config: Path of a probe config (``configs/probe/demo.py``): its training and validation
            sets are drawn from. Or a dict with ``train`` and ``val``, each the config of a
            labelled dataset.
        train_clips: Labelled videos to fit on, spread evenly over the list.
        val_clips: Videos to test on, likewise.
        k: Neighbours.
        clips_per_pass: Clips the encoder sees at once.
        dtype: Autocast type of the encoders: None, ``auto``, ``bfloat16`` or ``float16``.

    Raises:
        ValueError: If a number is below 1.
    """

    # After EMAHook (50) has updated the reference, before the logger (60).
    priority = 58

    def __init__(
        self,
        interval: int,
        config: str | Mapping[str, Any],
        train_clips: int = 240,
        val_clips: int = 240,
        k: int = 10,
        clips_per_pass: int = 32,
        dtype: str | None = 'auto',
    ) -> None:
        numbers = dict(interval=interval, train_clips=train_clips, val_clips=val_clips, k=k)
        for name, value in (numbers | dict(clips_per_pass=clips_per_pass)).items():
            check_count(value, f'OnlineProbeHook.{name}')
        self.interval, self.k, self.clips_per_pass = interval, k, clips_per_pass
        self.counts = dict(train=train_clips, val=val_clips)
        self.config, self.dtype = config, dtype
        self.clips: dict[str, Tensor] = {}
        self.labels: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Decode the videos; measure untrained features."""
        if not _measures(runner):
            return
        sets = _dataset_configs(self.config)
        for split in _SPLITS:
            self.clips[split], self.labels[split] = load_clips(sets[split], self.counts[split])
        size = sum(clips.numel() for clips in self.clips.values()) / 2**20
        runner.logger.info(
            f'online probe: {len(self.clips["train"])} videos to fit, {len(self.clips["val"])} to '
            f'test, {size:.0f} MB'
        )
        if runner.iter == 0:
            self._measure(runner, step=0)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Measure where the interval says so, and after the last step."""
        if self.every_n_train_iters(runner, self.interval) or runner.iter + 1 == runner.max_iters:
            with spent_on(runner, 'validation'):
                self._measure(runner, step=runner.iter + 1)

    def _measure(self, runner: Runner, step: int) -> None:
        if not _measures(runner):
            return
        start = time.perf_counter()
        model = unwrap(runner.model)
        modes = dict(encoder='tensor')
        if model.reference is not None:
            modes['reference'] = 'reference'
        scores: dict[str, float] = {}
        for name, mode in modes.items():
            sets = [
                (self._features(model, mode, self.clips[split]), self.labels[split])
                for split in _SPLITS
            ]
            scores[f'knn_{name}'] = knn_accuracy(*sets[0], *sets[1], k=self.k)
            scores[f'linear_{name}'] = linear_accuracy(*sets[0], *sets[1])
        scores['seconds'] = time.perf_counter() - start
        shown = ', '.join(f'{key} {value:.1f}' for key, value in scores.items())
        runner.logger.info(f'online probe at step {step}: {shown}')
        tags = {f'online_probe/{key}': value for key, value in scores.items()}
        runner.visualizer.add_scalars(tags, step=step)

    @torch.no_grad()
    def _features(self, model: nn.Module, mode: str, clips: Tensor) -> Tensor:
        """Mean tokens ``(n, C)`` of clips ``(n, 3, T, height, width)``, on the CPU."""
        parts = []
        for part in clips.split(self.clips_per_pass):
            batch = dict(inputs=list(part[:, None]), data_samples=None)
            inputs = model.data_preprocessor(batch, training=False)['inputs']
            dtype = resolve_dtype(self.dtype, inputs.device)
            with torch.autocast(inputs.device.type, dtype, enabled=dtype is not None):
                parts.append(encode_frozen(model, inputs, mode).float().mean((1, 2)).cpu())
        return torch.cat(parts)


def _measures(runner: Runner) -> bool:
    """Whether this process does: the first, or all of a sharded model, which needs them."""
    return not runner.rank or isinstance(unwrap(runner.model), FSDPModule)


def _dataset_configs(config: str | Mapping[str, Any]) -> dict[str, Any]:
    """The two datasets' configs.

    Raises:
        FileNotFoundError: If the config file does not exist.
        ValueError: If a part is missing.
    """
    if isinstance(config, str):
        try:
            probe = checked_config(config)
        except FileNotFoundError as error:
            raise FileNotFoundError(f'OnlineProbeHook.config={config!r}: {error}') from error
        return {split: cached_dataset(probe, split) for split in _SPLITS}
    if set(config) != set(_SPLITS):
        raise ValueError(f'OnlineProbeHook.config has keys {sorted(config)}; give train and val')
    return dict(config)


def load_clips(config: Mapping[str, Any], count: int) -> tuple[Tensor, Tensor]:
    """Decode ``count`` samples spread evenly over a dataset.

    Args:
        config: of a dataset whose samples hold ``inputs`` ``(M, 3, T, height, width)``; the
            first of the M is taken.
        count: samples; all, if the dataset has fewer.

    Returns:
        Clips ``(n, 3, T, height, width)``, uint8, and labels ``(n,)``.
    """
    dataset = DATASETS.build(config)
    places = torch.linspace(0, len(dataset) - 1, min(count, len(dataset))).long().tolist()
    samples = []
    for place in places:
        with isolated_rng(derive_seed(place)):
            samples.append(dataset[place])
    batch: Any = pseudo_collate(samples)
    labels = torch.cat([sample.gt_label for sample in batch['data_samples']])
    clips = torch.stack([clip[0] for clip in batch['inputs']])
    return clips.pin_memory() if torch.accelerator.is_available() else clips, labels
