"""Algorithms: what is wired to what, and the losses that follow."""

from .base import ClipPretraining
from .masked_video import MaskedVideoRegression
from .masks import BatchMask, collate_masks
from .next_frame import NextFrameRegression
from .nextvid import NextVid

__all__ = [
    'BatchMask',
    'ClipPretraining',
    'MaskedVideoRegression',
    'NextFrameRegression',
    'NextVid',
    'collate_masks',
]
