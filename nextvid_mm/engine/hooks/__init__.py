"""Hooks of pretraining; importing this package registers them."""

from .advice import AdviceHook
from .checkpoint import SafeCheckpointHook
from .clip_pictures import ClipVisualizationHook
from .health import HealthHook
from .moments import MomentHook
from .numbers import NumbersHook
from .records import FaultHook, TraceHook
from .stage import EMAHook, StageHook
from .watchdog import WatchdogHook

__all__ = [
    'AdviceHook',
    'ClipVisualizationHook',
    'EMAHook',
    'FaultHook',
    'HealthHook',
    'MomentHook',
    'NumbersHook',
    'SafeCheckpointHook',
    'StageHook',
    'TraceHook',
    'WatchdogHook',
]
