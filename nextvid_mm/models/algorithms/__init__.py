"""Algorithms: what is wired to what, and the losses that follow."""

from .base import ClipPreprocessor, ClipPretraining, preprocessor_config
from .masked_video import MaskedVideoRegression
from .next_frame import NextFrameRegression
from .nextvid import NextVid

__all__ = [
    'ClipPreprocessor',
    'ClipPretraining',
    'MaskedVideoRegression',
    'NextFrameRegression',
    'NextVid',
    'preprocessor_config',
]
