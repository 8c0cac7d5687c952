"""Hooks of pretraining and probing; importing this package registers them."""

from nextvid_mm.engine.hooks.checkpoint import SafeCheckpointHook
from nextvid_mm.engine.hooks.clip_pictures import ClipVisualizationHook
from nextvid_mm.engine.hooks.ema import EMAHook
from nextvid_mm.engine.hooks.faults import FaultHook
from nextvid_mm.engine.hooks.health import HealthHook
from nextvid_mm.engine.hooks.online_probe import OnlineProbeHook
from nextvid_mm.engine.hooks.probe import ProbeHook
from nextvid_mm.engine.hooks.stage import StageHook
from nextvid_mm.engine.hooks.trace import TraceHook

__all__ = [
    'ClipVisualizationHook',
    'EMAHook',
    'FaultHook',
    'HealthHook',
    'OnlineProbeHook',
    'ProbeHook',
    'SafeCheckpointHook',
    'StageHook',
    'TraceHook',
]
