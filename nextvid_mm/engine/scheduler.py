"""The schedule: every group's values of the coming step, as the stage table says."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.optim import BaseOptimWrapper
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from torch.optim import Optimizer

from nextvid_mm.engine.stages import GROUPS, Stage, StageTable
from nextvid_mm.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class StageParamScheduler(_ParamScheduler):
    """Sets each parameter group to the stage table's values of the coming step.

    A pure function of (table, step): its only state is the step, so resuming restores exactly what
    an uninterrupted run had, and a table that was extended since takes effect from the resumed step
    on. In a config it is ``param_scheduler = dict(type='StageParamScheduler')``; ``StageTrainLoop``
    supplies the table.

    Args:
        optimizer: Optimiser or wrapper. A param group's ``group`` entry ('base' or 'flow') chooses
            its learning rate; groups without one are 'base'. Its ``decay`` entry says whether a
            stage's ``weight_decay`` applies, or the optimiser's own where a stage has none.
        stages: The stage table.
        lr_scale: Factor on every learning rate (``--auto-scale-lr``).
        end: Handed over by MMEngine; must equal the table's number of steps.

    Raises:
        ValueError: If the table asks for groups the optimiser does not have, or ``end`` contradicts
            it.
    """

    # The base class is not initialised: it would wrap `optimizer.step`, and store `initial_lr`
    # entries that a checkpoint then brings back. It stays the base because the Runner checks for
    # it.

    def __init__(
        self,
        optimizer: Optimizer | BaseOptimWrapper,
        stages: StageTable | Sequence[Stage | Mapping[str, Any]] | None = None,
        lr_scale: float = 1.0,
        end: int | None = None,
    ) -> None:
        if stages is None:
            raise ValueError(
                "StageParamScheduler has no stage table. Use train_cfg=dict(type='StageTrainLoop', "
                'stages=[...]), which hands it over.'
            )
        self.optimizer = optimizer
        self.table = stages if isinstance(stages, StageTable) else StageTable(stages)
        if end not in (None, self.table.total_steps):
            raise ValueError(
                f'param_scheduler.end={end}, but the stage table has {self.table.total_steps} '
                'steps. Remove `end`: horizons live in train_cfg.stages only.'
            )
        self.lr_scale = lr_scale
        self.by_epoch = False
        decays = any(stage.weight_decay is not None for stage in self.table)
        tags = {group['group'] for group in self.optimizer.param_groups if 'group' in group}
        advice = "Set optim_wrapper.constructor='StageOptimWrapperConstructor'."
        if unknown := tags - set(GROUPS):
            raise ValueError(f'parameter groups are tagged {sorted(unknown)}; known: {GROUPS}')
        # Tagged groups without 'flow' are those of a model without a decoder: alignment only.
        if not tags and any(stage.flow_lr is not None for stage in self.table):
            raise ValueError(f'the stage table sets flow_lr, but no group is tagged. {advice}')
        if decays and not any('decay' in group for group in self.optimizer.param_groups):
            raise ValueError(
                "the stage table sets weight_decay, but no parameter group has an entry 'decay' "
                f'that says whether it applies. {advice}'
            )
        self.seek(0)

    def seek(self, step: int) -> None:
        """Set every group to its values for global ``step``; past the end, those of the last."""
        self.last_step = step
        step = min(step, self.table.total_steps - 1)
        decay = self.table.at(step)[1].weight_decay
        if decay is None:
            decay = self.optimizer.defaults.get('weight_decay')
        for group in self.optimizer.param_groups:
            group['lr'] = self.lr_scale * self.table.lr(step, group.get('group', 'base'))
            # Also where no stage sets one: a checkpoint may bring back that of an older table.
            if decay is not None and group.get('decay'):
                group['weight_decay'] = decay
        self._last_value = [group['lr'] for group in self.optimizer.param_groups]

    def step(self) -> None:
        """Move to the next step; called by ``ParamSchedulerHook`` after every iteration."""
        self.seek(self.last_step + 1)

    def state_dict(self) -> dict[str, int]:
        """The step, and nothing else."""
        return dict(last_step=self.last_step)

    def load_state_dict(self, state_dict: Mapping[str, int]) -> None:
        """Return to a saved step under the present table."""
        self.seek(state_dict['last_step'])
