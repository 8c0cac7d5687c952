"""Datasets, samplers and transforms; importing this package registers every one of them."""

from . import transforms
from .cached_mixture import CachedMixtureDataset, LatentCache, LatentCacheWriter
from .collate import collate_clips
from .labelled import LabelledDataset
from .mixture import MixtureDataset
from .mixture_schedule import MixtureSchedule
from .request import ClipRequest
from .samplers import ClipSampler, EpochSampler, StageBatchSampler
from .video_lists import ClipListDataset, VideoFolder

__all__ = [
    'CachedMixtureDataset',
    'ClipListDataset',
    'ClipRequest',
    'ClipSampler',
    'EpochSampler',
    'LabelledDataset',
    'LatentCache',
    'LatentCacheWriter',
    'MixtureDataset',
    'MixtureSchedule',
    'StageBatchSampler',
    'VideoFolder',
    'collate_clips',
    'transforms',
]
