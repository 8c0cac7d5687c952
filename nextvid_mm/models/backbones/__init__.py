"""Encoders: this project's, and those of others for comparison."""

from .base import ClipEncoder, VideoEncoder
from .causal_vit import CausalViT
from .joint_vit import JointViT
from .per_frame_vit import PerFrameViT

__all__ = ['CausalViT', 'ClipEncoder', 'JointViT', 'PerFrameViT', 'VideoEncoder']
