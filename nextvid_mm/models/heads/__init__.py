"""Heads: the flow-matching decoder, the alignment loss and the attentive probe."""

from .align import AlignHead
from .dit import FrameDiT
from .flow_matching import FlowMatchingHead
from .probe_head import ProbeHead

__all__ = ['AlignHead', 'FlowMatchingHead', 'FrameDiT', 'ProbeHead']
