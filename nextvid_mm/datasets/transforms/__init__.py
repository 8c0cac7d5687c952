"""Transforms that MMAction2's pipelines lack; importing this package registers them."""

from nextvid_mm.datasets.video.pictures import LoadPicture

from .block_masks import BlockStrategy
from .clip_augment import AutoAugment, EachSegment, RandomErase
from .decode import VideoDecode, VideoInit
from .image_to_clip import ImageToClip, RepeatFrames
from .masking import FrameIsolatedMasking, TubeMasking
from .sampling import BeforeAction, SampleClipByTime

__all__ = [
    'AutoAugment',
    'BeforeAction',
    'BlockStrategy',
    'EachSegment',
    'FrameIsolatedMasking',
    'ImageToClip',
    'LoadPicture',
    'RandomErase',
    'RepeatFrames',
    'SampleClipByTime',
    'TubeMasking',
    'VideoDecode',
    'VideoInit',
]
