"""Transforms that MMAction2's pipelines lack; importing this package registers them."""

from .block_masks import BlockStrategy
from .clip_augment import AutoAugment, EachSegment, RandomErase
from .decode import CachedDecordInit
from .image_to_clip import ImageToClip, RepeatFrames
from .masking import FrameIsolatedMasking, TubeMasking
from .sampling import SampleClipByTime

__all__ = [
    'AutoAugment',
    'BlockStrategy',
    'CachedDecordInit',
    'EachSegment',
    'FrameIsolatedMasking',
    'ImageToClip',
    'RandomErase',
    'RepeatFrames',
    'SampleClipByTime',
    'TubeMasking',
]
