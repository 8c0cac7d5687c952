"""Heads: the flow-matching decoder, regression, the alignment loss and the attentive probe."""

from .base import Head
from .clip_head import ClipHead
from .flow_matching import CrossSelfDiT, FlowMatchingHead, FrameDiT
from .probe_head import ProbeHead
from .regression import AlignHead, LinearRegressionHead, RegressionHead

__all__ = [
    'AlignHead',
    'ClipHead',
    'CrossSelfDiT',
    'FlowMatchingHead',
    'FrameDiT',
    'Head',
    'LinearRegressionHead',
    'ProbeHead',
    'RegressionHead',
]
