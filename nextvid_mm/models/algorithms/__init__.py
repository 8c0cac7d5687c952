"""Algorithms: what is wired to what, and the losses that follow."""

from .base import ClipPretraining
from .checkpoint import Generator, find_component, load_generator, training_fps
from .masked_video import MaskedVideoRegression
from .masks import BatchMask, collate_masks
from .next_frame import NextFrameRegression
from .nextvid import NextVid
from .rollout import roll_out

__all__ = [
    'BatchMask',
    'ClipPretraining',
    'Generator',
    'MaskedVideoRegression',
    'NextFrameRegression',
    'NextVid',
    'collate_masks',
    'find_component',
    'load_generator',
    'roll_out',
    'training_fps',
]
