"""What the numbers of the log mean, and a word when one of them leaves its healthy range."""

from __future__ import annotations

import statistics
from collections import Counter, deque
from typing import Any, NamedTuple

from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.checks import check_count
from nextvid_mm.registry import HOOKS, unwrap


class Scalar(NamedTuple):
    """What a number of the log is."""

    unit: str
    window: str
    healthy: str
    meaning: str


_MEAN = 'mean of `log_processor.window_size` steps'
_LAST = 'last measurement (`HealthHook.interval`)'
_STEP = 'last step'
GLOSSARY: dict[str, Scalar] = {
    'loss': Scalar('', _MEAN, 'falls, then flattens', 'sum of the losses below'),
    'loss_flow': Scalar('', _MEAN, 'falls', 'squared error of the velocity, times its weight'),
    'loss_align': Scalar('', _MEAN, 'falls, may rise late', 'distance to the reference encoder'),
    'grad_norm': Scalar('', _MEAN, 'no jump of 20 times', 'norm over all weights, before clipping'),
    'lr': Scalar('', _STEP, 'as `tools/print_stages.py` says', 'of encoder and predictor'),
    'flow_lr': Scalar('', _STEP, 'as the stage table says', 'of the decoder'),
    'time': Scalar(
        's', _MEAN, 'steady', 'one optimiser step, with waiting and validation of hooks'
    ),
    'data_time': Scalar('s', _MEAN, 'near 0', 'wait for the first micro-batch of a step'),
    'memory': Scalar('MiB', 'highest so far', 'below the GPU', 'of the GPU'),
    'clips_per_s': Scalar('clips/s', _MEAN, 'steady', 'clips of all processes over wall time'),
    'data_share': Scalar('share', _MEAN, 'below 0.3', 'of the time, spent waiting for the loader'),
    'host_share': Scalar('share', _MEAN, 'below 0.05', 'of the time, hooks at work between steps'),
    'save_share': Scalar('share', _MEAN, 'below 0.02', 'of the time, waiting for a save'),
    'val_share': Scalar('share', _MEAN, 'as often as asked for', 'of the time, validation, probes'),
    'goodput': Scalar('share', _MEAN, 'above 0.9', 'of the time, none of these and no waiting'),
    'tflops': Scalar('TFLOP/s', _MEAN, 'steady', 'useful operations of a process over wall time'),
    'mfu': Scalar('share', _MEAN, 'steady', '`tflops` over the peak of a GPU (absent without one)'),
    'ema_distance': Scalar('share', _LAST, 'settles', 'of reference to encoder, over its norm'),
    'feature_std': Scalar('', _LAST, 'above 0.1', "spread of the encoder's tokens"),
    'feature_rank': Scalar('', _LAST, 'falls, then recovers', 'effective rank of these tokens'),
    'reference_std': Scalar('', _LAST, 'follows `feature_std`', 'the same of the reference'),
    'reference_rank': Scalar('', _LAST, 'follows `feature_rank`', 'the same of the reference'),
    'skipped_steps': Scalar('steps', 'sum of this process', 'absent', 'without finite gradient'),
    'replaced_samples': Scalar('clips', 'sum of this process', 'absent', 'of unreadable files'),
    'iter': Scalar('steps', _STEP, '', 'in the files of numbers only: steps done'),
    'step': Scalar('steps', _STEP, '', 'the same'),
}
"""Every number that a pretraining logs; docs/log.md is made of it."""

_LOADER_BOUND = 0.5
_EXPLODED = 20.0
_COLLAPSED = 0.25
_PATIENCE = 5
_FEWEST_CLIPS = 20


@HOOKS.register_module()
class AdviceHook(Hook):
    """Says in words, once each, when a number of the log leaves its range, and what to turn.

    - The loader makes training wait for more than half of the time.
    - The rank of the features has fallen below a quarter of its highest, and stays there.
    - The gradient norm is twenty times what it was.
    - The reference encoder averages over more than half of the run.
    - All clips of a source are replaced by others of it: nothing of what is asked for can be read.

    Args:
        interval: Steps between two looks. Best that of the logger.

    Raises:
        ValueError: If ``interval`` is below 1.
    """

    # After HealthHook (55), before LoggerHook (60).
    priority = 58

    def __init__(self, interval: int = 20) -> None:
        check_count(interval, 'AdviceHook.interval')
        self.interval = interval
        self.told: set[str] = set()
        self._ranks: deque[float] = deque(maxlen=_PATIENCE)
        self._norms: list[float] = []
        self._clips: Counter[str] = Counter()
        self._replaced: Counter[str] = Counter()
        self._highest = 0.0

    def before_train(self, runner: Runner) -> None:
        """Look at what can be said before the first step."""
        table: Any = getattr(runner.train_loop, 'table', None)
        if getattr(unwrap(runner.model), 'reference', None) is None:
            return
        for stage in table or ():
            memory = 1 / (1 - stage.ema_momentum) if stage.ema_momentum < 1 else 0
            if memory > table.total_steps / 2:
                self._tell(
                    runner,
                    'ema',
                    f'the reference encoder averages over {memory:,.0f} steps, the run has '
                    f'{table.total_steps:,}: it hardly leaves its first weights. Lower '
                    f'ema_momentum of train_cfg.stages ({stage.name!r}: {stage.ema_momentum}), '
                    f'such as to {max(0.5, 1 - 10 / table.total_steps):.3g}',
                )

    def after_micro_batch(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count replaced clips by source."""
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        for info in getattr(samples, 'info', ()):
            source = str(info.get('source', ''))
            self._clips[source] += 1
            self._replaced[source] += bool(info.get('replaced'))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at the numbers."""
        if not self.every_n_train_iters(runner, self.interval):
            return
        runner.call_hook('gather_numbers')
        scalars = runner.message_hub.log_scalars
        current = {
            name: scalars[f'train/{name}'].current()
            for name in ('data_share', 'feature_rank')
            if f'train/{name}' in scalars
        }
        if current.get('data_share', 0) > _LOADER_BOUND:
            self._tell(
                runner,
                'loader',
                f'training waits for the loader {current["data_share"]:.0%} of the time '
                '(data_share): raise train_dataloader.num_workers, or see "Faster" in '
                'docs/performance.md',
            )
        if 'feature_rank' in current:
            self._look_at_rank(runner, current['feature_rank'])
        if 'train/grad_norm' in scalars:
            self._look_at_norm(runner, scalars['train/grad_norm'].mean(self.interval))
        self._look_at_sources(runner)

    def _look_at_rank(self, runner: Runner, rank: float) -> None:
        self._ranks.append(rank)
        low = len(self._ranks) == _PATIENCE and max(self._ranks) < _COLLAPSED * self._highest
        self._highest = max(self._highest, rank)
        if low and self._ranks[-1] <= self._ranks[0]:
            self._tell(
                runner,
                'rank',
                f'the features have a rank of {rank:.1f} (feature_rank), were at '
                f'{self._highest:.1f}, and do not recover: they collapse. Lower lr of this stage '
                'in train_cfg.stages, and check ema_momentum',
            )

    def _look_at_norm(self, runner: Runner, norm: float) -> None:
        if len(self._norms) >= _PATIENCE and norm > _EXPLODED * statistics.median(self._norms):
            self._tell(
                runner,
                'norm',
                f'the gradient norm is {norm:.3g} (grad_norm), was at '
                f'{statistics.median(self._norms):.3g}: lower lr of this stage in '
                'train_cfg.stages, or optim_wrapper.clip_grad.max_norm',
            )
        self._norms.append(norm)

    def _look_at_sources(self, runner: Runner) -> None:
        for source, count in self._clips.items():
            if count >= _FEWEST_CLIPS and self._replaced[source] == count:
                self._tell(
                    runner,
                    f'source {source}',
                    f'all {count} clips of source {source!r} were replaced by others: its files '
                    'cannot be read. Check it with tools/scan_dataset.py, or set its weight to 0 '
                    'in train_dataloader.dataset.sources',
                )
        self._clips.clear()
        self._replaced.clear()

    def _tell(self, runner: Runner, what: str, text: str) -> None:
        if what not in self.told:
            self.told.add(what)
            runner.logger.warning(f'step {runner.iter + 1}: {text}')
