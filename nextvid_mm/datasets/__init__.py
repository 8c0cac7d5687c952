"""Data sets, samplers and transforms; importing this package registers every one of them."""

from . import transforms
from .collate import collate_clips
from .epoch_sampler import EpochSampler
from .labelled import LabelledDataset
from .mixture import MixtureDataset
from .mixture_schedule import MixtureSchedule
from .request import ClipRequest
from .samplers import ClipSampler, StageBatchSampler
from .video_lists import ClipListDataset, VideoFolder

__all__ = [
    'ClipListDataset',
    'ClipRequest',
    'ClipSampler',
    'EpochSampler',
    'LabelledDataset',
    'MixtureDataset',
    'MixtureSchedule',
    'StageBatchSampler',
    'VideoFolder',
    'collate_clips',
    'transforms',
]
