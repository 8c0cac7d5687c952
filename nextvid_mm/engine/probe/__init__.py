"""Probes on a frozen encoder: optimiser, cached and online features, training, results."""

from .grid_optim import GridAdamW, ProbeOptimWrapperConstructor
from .metric import ProbeMetric
from .online_hook import OnlineProbeHook
from .results import ProbeHook, config_of, read_record
from .training import (
    ExactEpochLoop,
    build_probe,
    fit_probe,
)

__all__ = [
    'ExactEpochLoop',
    'GridAdamW',
    'OnlineProbeHook',
    'ProbeHook',
    'ProbeMetric',
    'ProbeOptimWrapperConstructor',
    'build_probe',
    'config_of',
    'fit_probe',
    'read_record',
]
