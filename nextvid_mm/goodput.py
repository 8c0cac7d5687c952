"""How much of a GPU, and of its time, a training makes use of."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.engine.hooks.numbers import is_logged, log_interval
from nextvid_mm.engine.stages import Stage
from nextvid_mm.plan.flops import step_cost, uncounted
from nextvid_mm.plan.run_sums import patches_of_masks
from nextvid_mm.plan.step_time import GPUS
from nextvid_mm.registry import HOOKS

_SHARES = dict(host='host_share', save='save_share', validation='val_share')


class _Moment(NamedTuple):
    """A moment of the run: the clock, what was spent by then on what, and the operations done."""

    at: float
    spent: Mapping[str, float]
    work: float


@HOOKS.register_module()
class GoodputHook(Hook):
    """Adds to the log what the time goes into, and how much of the hardware's rate is used.

    - ``host_share``, ``save_share``, ``val_share``: parts of the time in which hooks work while no
      step is being started, in which training waits for a save, and in validation and probes.
    - ``goodput``: what is left of the time without these and without waiting for the loader.
    - ``tflops``: useful operations of this process over the time, of a ``NextVid``: matrix products
      and convolutions, once, without recomputation, and of attention the pairs a token may see.
    - ``mfu``: ``tflops`` over the peak of the device.

    All are over the steps of the log's window (``log_processor.window_size``), by the clock of
    process 0: nothing waits for the GPU to be measured.

    Args:
        peak_tflops: Dense rate of one device in the type that is trained in, in TFLOP/s. None: of
            the data sheet in bfloat16, for GPUs that are known; without one there is no ``mfu``.

    Raises:
        ValueError: If ``peak_tflops`` is not positive.
    """

    # After IterTimerHook (50) and HealthHook (55), before LoggerHook (60).
    priority = 56

    def __init__(self, peak_tflops: float | None = None) -> None:
        if peak_tflops is not None and not peak_tflops > 0:
            raise ValueError(f'GoodputHook.peak_tflops={peak_tflops} must be None or above 0')
        self.peak_tflops = peak_tflops
        self._costs: Sequence[tuple[float, float]] | None = None
        self._work = 0.0
        self._window: deque[_Moment] = deque(maxlen=2)

    def before_train(self, runner: Runner) -> None:
        """Count what a clip of each stage costs, once; start the window."""
        if runner.rank or not hasattr(runner.train_loop, 'clock'):
            return  # the others log nothing
        self._costs = clip_costs(runner.cfg, list(runner.train_loop.table))
        if self.peak_tflops is None:
            self.peak_tflops = device_peak()
        self._work = 0.0
        self._window = deque(maxlen=runner.log_processor.window_size + 1)
        self._window.append(self._now(runner))

    def _now(self, runner: Runner) -> _Moment:
        return _Moment(time.perf_counter(), runner.train_loop.clock.read(), self._work)

    def after_micro_batch(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Add the operations of a micro-batch."""
        if self._costs is not None:
            samples = data_batch['data_samples']  # a `ClipBatch`
            moving, still = self._costs[runner.train_loop.table.at(runner.iter)[0]]
            self._work += len(samples.moving) * moving + len(samples.still) * still

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Record the shares of the window."""
        if not self._window:
            return
        self._window.append(self._now(runner))
        if not is_logged(runner, batch_idx, log_interval(runner)):
            return
        first, last = self._window[0], self._window[-1]
        seconds, hub = last.at - first.at, runner.message_hub
        share = {
            what: (last.spent.get(what, 0.0) - first.spent.get(what, 0.0)) / seconds
            for what in ('loader', *_SHARES)
        }
        for what, name in _SHARES.items():
            hub.update_scalar(f'train/{name}', share[what])
        hub.update_scalar('train/goodput', max(0.0, 1 - sum(share.values())))
        if self._costs is not None:
            rate = (last.work - first.work) / seconds / 1e12
            hub.update_scalar('train/tflops', rate)
            if self.peak_tflops is not None:
                hub.update_scalar('train/mfu', rate / self.peak_tflops)


def clip_costs(cfg: Config, stages: Sequence[Stage]) -> list[tuple[float, float]] | None:
    """Useful operations of a moving and of a still clip of each stage; None if nobody can count.

    Args:
        cfg: The run's config.
        stages: Of its table.
    """
    model = cfg.model
    pipeline = cfg.train_dataloader.dataset.get('pipeline') or ()
    masked = any(str(t['type']).endswith('FrameIsolatedMasking') for t in pipeline)
    if uncounted(model) is not None or not masked:
        return None
    masks, pixels = patches_of_masks(cfg), model.backbone.get('img_size', 256)

    def cost(stage: Stage, still: float) -> float:
        frames, tau = stage.num_frames, stage.tau_samples
        parts = step_cost(model, 1, frames, pixels, masks, tau, still)
        return float(sum(part.total for part in parts.values()))

    return [(cost(stage, 0.0), cost(stage, 1.0)) for stage in stages]


def device_peak(name: str | None = None) -> float | None:
    """Dense bfloat16 TFLOP/s of a GPU by the data sheet, None if it is not known or there is none.

    Args:
        name: As PyTorch gives it, such as ``NVIDIA H100 80GB HBM3``; None: of this machine's.
    """
    if name is None:
        if not torch.cuda.is_available():
            return None
        name = torch.cuda.get_device_name()
    words = name.lower().replace('-', ' ').split()
    if 'laptop' in words or ('h100' in words and {'pcie', 'nvl'} & set(words)):
        return None  # the same name, but a slower chip
    whole = {*words, *(first + second for first, second in pairwise(words))}
    return next((rate for key, (rate, _) in GPUS.items() if key in whole), None)
