"""Producers of training targets: generation targets and the reference encoder."""

from .base import TargetGenerator
from .cached import CachedLatentTarget
from .ema_reference import EMAReference
from .image_vae import DiffusersVAETarget, VAVAETarget
from .pixel import PixelTarget
from .siglip import SigLIP2Target
from .video_vae import VideoVAETarget

__all__ = [
    'CachedLatentTarget',
    'DiffusersVAETarget',
    'EMAReference',
    'PixelTarget',
    'SigLIP2Target',
    'TargetGenerator',
    'VAVAETarget',
    'VideoVAETarget',
]
