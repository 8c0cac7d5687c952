"""Stage table, training loop, optimisation, schedules and hooks; importing it registers them."""

from . import hooks, probe, sharding
from .layer_decay import LayerDecayConstructor
from .loops import StageTrainLoop
from .optim import AutocastOptimWrapper, StageOptimWrapperConstructor
from .scheduler import StageParamScheduler
from .stages import Stage, StageTable

__all__ = [
    'AutocastOptimWrapper',
    'LayerDecayConstructor',
    'Stage',
    'StageOptimWrapperConstructor',
    'StageParamScheduler',
    'StageTable',
    'StageTrainLoop',
    'hooks',
    'probe',
    'sharding',
]
