"""Encoders: this project's, and those of others for comparison."""

from .adapted_encoder import AdaptedEncoder, TransformersEncoder
from .base import ClipEncoder, VideoEncoder
from .causal_vit import CausalViT
from .joint_vit import JointViT
from .per_frame_vit import PerFrameViT

__all__ = [
    'AdaptedEncoder',
    'CausalViT',
    'ClipEncoder',
    'JointViT',
    'PerFrameViT',
    'TransformersEncoder',
    'VideoEncoder',
]
