"""Producers of training targets: generation targets and the reference encoder."""

from .base import TargetGenerator
from .ema_reference import EMAReference
from .pixel import PixelTarget
from .vavae import VAVAETarget

__all__ = ['EMAReference', 'PixelTarget', 'TargetGenerator', 'VAVAETarget']
