"""Heads: the flow-matching decoder, regression, the alignment loss and the attentive probe."""

from .align import AlignHead
from .dit import CrossSelfDiT, FrameDiT
from .flow_matching import FlowMatchingHead
from .probe_head import ProbeHead
from .regression import LinearRegressionHead, RegressionHead

__all__ = [
    'AlignHead',
    'CrossSelfDiT',
    'FlowMatchingHead',
    'FrameDiT',
    'LinearRegressionHead',
    'ProbeHead',
    'RegressionHead',
]
