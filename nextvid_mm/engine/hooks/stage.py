"""What changes from stage to stage besides rates and batches: tau samples, the reference."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.engine.scheduler import StageParamScheduler
from nextvid_mm.engine.stages import Stage, check_momentum
from nextvid_mm.registry import HOOKS, unwrap


@HOOKS.register_module()
class StageHook(Hook):
    """Sets the flow head's ``tau_samples`` and reports the switch from stage to stage.

    Frames and batch size switch in the sampler, learning rate and weight decay in
    ``StageParamScheduler``, EMA momentum in ``EMAHook``: all from the same table. Needs
    ``StageTrainLoop``.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._current: int | None = None

    def before_train(self, runner: Runner) -> None:
        """Bring the schedulers to the runner's step, also where a checkpoint held none."""
        self._current = None
        for scheduler in runner.param_schedulers or []:
            if isinstance(scheduler, StageParamScheduler):
                scheduler.seek(runner.iter)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Enter a stage at its first step, or wherever a run is resumed."""
        index, stage, within = runner.train_loop.table.at(runner.iter)
        if index == self._current:
            return
        self._current = index
        model = unwrap(runner.model)
        if model.head is not None:  # there is none when only alignment is trained
            model.head.tau_samples = stage.tau_samples
        runner.logger.info(_describe(runner, index, stage, within))


def _describe(runner: Runner, index: int, stage: Stage, within: int) -> str:
    """One line that says what a stage trains with."""
    batch, scale = runner.train_loop.stage_batch, runner.train_loop.lr_scale
    rates = ', '.join(
        f'{name} {scale * stage.lr_at(0, group):.2e} to '
        f'{scale * stage.lr_at(stage.steps - 1, group):.2e}'
        for name, group in (('lr', 'base'), ('flow_lr', 'flow'))
    )
    return (
        f'Stage {index + 1}/{len(runner.train_loop.table)} "{stage.name}", '
        f'step {within + 1} of {stage.steps}: {rates}, tau_samples {stage.tau_samples}, '
        f'{stage.num_frames} frames, EMA {stage.ema_momentum}, batch {stage.batch_size} = '
        f'{runner.world_size} process(es) x {batch.micro_batch_size} clips x {batch.accumulation}'
    )


@HOOKS.register_module()
class EMAHook(Hook):
    """Updates ``model.reference`` towards ``model.backbone`` after every real optimiser step.

    Real means: once per step however many micro-batches are accumulated (in ``StageTrainLoop`` or
    by MMEngine's ``accumulative_counts``), and not after a step skipped for non-finite gradients.

    Args:
        momentum: Share of the *old* reference weights kept per step, near 1; exactly 0 for no
            average. (MMEngine's own hook of this name takes the share of the new ones.) None: the
            current stage's ``ema_momentum``; needs ``StageTrainLoop``.

    Raises:
        ValueError: If ``momentum`` lies outside [0, 1], or below 0.5 without being 0.
    """

    # After the optimiser has stepped, before the logger (60) and the checkpoint (90).
    priority = 'NORMAL'

    def __init__(self, momentum: float | None = None) -> None:
        if momentum is not None:
            check_momentum(momentum, 'EMAHook.momentum')
        self.momentum = momentum

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Update the reference encoder if the weights have just moved."""
        wrapper = runner.optim_wrapper
        model = unwrap(runner.model)
        # Its counter was advanced by the last backward pass: true exactly if that one ended in a
        # step.
        if model.reference is None or not wrapper.should_update():  # None: without alignment
            return
        momentum = runner.train_loop.stage.ema_momentum if self.momentum is None else self.momentum
        applied = getattr(wrapper, 'applied', None)
        if applied is not None:
            # On the device, so that nobody waits for it: after a skipped step exactly 1.
            momentum = 1 - applied.double() * (1 - momentum)
        model.reference.update(model.backbone, momentum)
