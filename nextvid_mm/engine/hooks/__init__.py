"""Hooks of pretraining; importing this package registers them."""

from nextvid_mm.engine.hooks.checkpoint import SafeCheckpointHook
from nextvid_mm.engine.hooks.ema import EMAHook
from nextvid_mm.engine.hooks.faults import FaultHook
from nextvid_mm.engine.hooks.health import HealthHook
from nextvid_mm.engine.hooks.stage import StageHook
from nextvid_mm.engine.hooks.trace import TraceHook

__all__ = ['EMAHook', 'FaultHook', 'HealthHook', 'SafeCheckpointHook', 'StageHook', 'TraceHook']
