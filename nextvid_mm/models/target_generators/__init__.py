"""Producers of training targets: generation targets and the reference encoder."""

from .base import TargetGenerator
from .ema_reference import EMAReference
from .image_vae import DiffusersVAETarget
from .pixel import PixelTarget
from .vavae import VAVAETarget

__all__ = ['DiffusersVAETarget', 'EMAReference', 'PixelTarget', 'TargetGenerator', 'VAVAETarget']
