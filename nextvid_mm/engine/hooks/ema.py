"""Moves the reference encoder after the encoder."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from nextvid_mm.engine.stages import check_momentum
from nextvid_mm.registry import HOOKS, unwrap


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
        # Its counter was advanced by the last backward pass: true exactly if that one ended in a
        # step.
        stepped = wrapper.should_update() and not getattr(wrapper, 'step_skipped', False)
        momentum = runner.train_loop.stage.ema_momentum if self.momentum is None else self.momentum
        model = unwrap(runner.model)
        if stepped and model.reference is not None:  # None: trained without alignment
            model.reference.update(model.backbone, momentum)
