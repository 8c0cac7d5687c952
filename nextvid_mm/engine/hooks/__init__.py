"""Hooks of pretraining; importing this package registers them."""

from .checkpoint import SafeCheckpointHook
from .clip_pictures import ClipVisualizationHook
from .ema import EMAHook
from .faults import FaultHook
from .health import HealthHook
from .stage import StageHook
from .trace import TraceHook

__all__ = [
    'ClipVisualizationHook',
    'EMAHook',
    'FaultHook',
    'HealthHook',
    'SafeCheckpointHook',
    'StageHook',
    'TraceHook',
]
