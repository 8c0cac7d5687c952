"""Numbers that tell a healthy run from a sick one."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from nextvid_mm.checks import check_count
from nextvid_mm.engine.sharding import free_gathered, whole
from nextvid_mm.evaluation.representation import effective_rank, feature_std
from nextvid_mm.layers import run_eagerly
from nextvid_mm.registry import HOOKS, unwrap


@HOOKS.register_module()
class HealthHook(Hook):
    """Adds to the log (text and TensorBoard) what the model and optimiser do not report themselves.

    - ``clips_per_s``: global throughput, clips over seconds of the last steps.
    - ``data_share``: part of these seconds spent waiting for the loader; near 0 is good. Both are
      over the steps that the log's other means are over (``log_processor.window_size``), by the
      clock of the process: nothing waits for the GPU to be measured.
    - ``ema_distance``: how far the reference encoder trails the encoder, relative to the latter's
      norm. It should settle; falling towards 0 means the encoder has stopped, growing without end
      that the momentum is too high for the run's length.
    - ``feature_std``, ``feature_rank``: spread and effective rank of the encoder's tokens of whole
      clips. Near 0 and near 1, the features have collapsed.
    - ``reference_std``, ``reference_rank``: the same of the reference encoder, which follows later.
    - ``skipped_steps``: steps without a finite gradient, once there is one.

    Losses are outputs of the model, the gradient norm comes from ``AutocastOptimWrapper``, learning
    rates from ``RuntimeInfoHook``, the time left from ``IterTimerHook``.

    Measuring draws no random numbers and leaves the model as it was: training goes on bit for bit
    as without this hook. Process 0 alone measures, unless the model is sharded, in the precision of
    training.

    Args:
        interval: Steps between measurements of the EMA distance, which reads all weights, and of
            the features, which encodes clips. Best the logger's interval.
        clips: Clips to encode, the first of the step's first micro-batch (all, if it has fewer).
            0 measures no features.

    Raises:
        ValueError: If ``interval`` is below 1 or ``clips`` below 0.
    """

    # After IterTimerHook (50) has taken the step's time, before LoggerHook (60).
    priority = 55

    def __init__(self, interval: int = 10, clips: int = 8) -> None:
        check_count(interval, 'HealthHook.interval')
        check_count(clips, 'HealthHook.clips', least=0)
        self.interval, self.clips = interval, clips
        self._inputs: Any = None
        self._window: deque[tuple[int, float, float]] = deque(maxlen=1)
        self._waited = 0.0  # for the loader, since the start of training

    def before_train(self, runner: Runner) -> None:
        """Take the log's window."""
        self._window = deque(maxlen=runner.log_processor.window_size)
        self._waited = 0.0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the clips to encode: ``after_train_iter`` gets the last micro-batch, not the first.

        They are encoded after the step, so that all numbers of a log line are of the same weights.
        """
        if self.clips and self.every_n_train_iters(runner, self.interval):
            self._inputs = data_batch['inputs'][: self.clips]

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Record the step's numbers."""
        loop, hub = runner.train_loop, runner.message_hub
        seconds = hub.get_scalar('train/time').current()
        waited = loop.clock.read().get('loader', 0.0)
        self._window.append((loop.stage_batch.batch_size, seconds, waited - self._waited))
        self._waited = waited
        clips, whole_seconds, idle = map(sum, zip(*self._window, strict=True))
        hub.update_scalar('train/clips_per_s', clips / whole_seconds)
        hub.update_scalar('train/data_share', min(idle / whole_seconds, 1.0))
        if skipped := getattr(runner.optim_wrapper, 'skipped_steps', 0):
            hub.update_scalar('train/skipped_steps', skipped)
        model = unwrap(runner.model)
        if not self.every_n_train_iters(runner, self.interval):
            return
        if runner.rank and not isinstance(model, FSDPModule):  # only a sharded model needs all
            self._inputs = None
            return
        modes = {'feature': 'tensor'}
        if model.reference is not None:
            modes['reference'] = 'reference'
            distance = relative_distance(model.reference.encoder, model.backbone)
            hub.update_scalar('train/ema_distance', distance)
        if self._inputs is not None:
            self._measure_features(runner, model, modes)

    @torch.no_grad()
    def _measure_features(self, runner: Runner, model: nn.Module, modes: dict[str, str]) -> None:
        """Encode the kept clips with each encoder and record what the tokens look like."""
        batch = model.data_preprocessor(
            dict(inputs=self._inputs, data_samples=None), training=False
        )
        self._inputs = None  # the loader's memory
        dtype = getattr(runner.optim_wrapper, 'dtype', None)
        with torch.autocast(batch['inputs'].device.type, dtype, enabled=dtype is not None):
            for name, mode in modes.items():
                tokens = encode_frozen(model, batch['inputs'], mode)
                runner.message_hub.update_scalar(f'train/{name}_std', feature_std(tokens))
                runner.message_hub.update_scalar(f'train/{name}_rank', effective_rank(tokens))


@torch.no_grad()
def encode_frozen(model: Any, inputs: Tensor, mode: str = 'tensor') -> Tensor:
    """Tokens of clips in the middle of training, which is left as it was.

    The model is entered as a whole, so that one that is sharded gathers what it needs.

    Args:
        model: an algorithm of this project, unwrapped from DDP.
        inputs: normalised clips ``(B, 1, 3, T_video, height, width)``.
        mode: ``tensor`` for the encoder, ``reference`` for the reference encoder.

    Returns:
        ``(B, T, N, C)``.
    """
    training = model.training
    try:
        with run_eagerly(model):
            return model.eval()(inputs, mode=mode)
    finally:
        model.train(training)
        free_gathered(model)


@torch.no_grad()
def relative_distance(module: nn.Module, other: nn.Module) -> float:
    """Norm of the difference of two modules' parameters over the norm of the second's.

    Parameter by parameter: what it needs beside the weights is the largest of them.
    """
    pairs = list(zip(module.parameters(), other.parameters(), strict=True))
    difference = _norm(mine - theirs for mine, theirs in pairs)
    return float(difference / _norm(other.parameters()))


def _norm(tensors: Iterable[Tensor]) -> Tensor:
    """Norm over all tensors, one at a time; of sharded ones, over all processes."""
    return whole(
        torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t) for t in tensors]))
    )
