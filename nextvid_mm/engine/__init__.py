"""Stage table, training loop, optimisation, schedules and hooks; importing it registers them."""

from nextvid_mm.engine import hooks
from nextvid_mm.engine.grid_optimizer import GridAdamW, ProbeOptimWrapperConstructor
from nextvid_mm.engine.loops import StageTrainLoop
from nextvid_mm.engine.optim_wrapper import AutocastOptimWrapper
from nextvid_mm.engine.param_groups import StageOptimWrapperConstructor
from nextvid_mm.engine.schedulers import StageParamScheduler
from nextvid_mm.engine.sharded_runner import ShardedRunner
from nextvid_mm.engine.stages import Stage, StageTable

__all__ = [
    'AutocastOptimWrapper',
    'GridAdamW',
    'ProbeOptimWrapperConstructor',
    'ShardedRunner',
    'Stage',
    'StageOptimWrapperConstructor',
    'StageParamScheduler',
    'StageTable',
    'StageTrainLoop',
    'hooks',
]
