"""Probes on a frozen encoder: optimiser, cached and online features, training, results."""

from .cached_probe import ProbeSchedule, run_probe
from .epoch_loop import ExactEpochLoop
from .grid_optimizer import GridAdamW, ProbeOptimWrapperConstructor
from .hook import ProbeHook
from .metric import ProbeMetric
from .online_hook import OnlineProbeHook

__all__ = [
    'ExactEpochLoop',
    'GridAdamW',
    'OnlineProbeHook',
    'ProbeHook',
    'ProbeMetric',
    'ProbeOptimWrapperConstructor',
    'ProbeSchedule',
    'run_probe',
]
