import copy

import pytest

from nextvid_mm.datasets.cached_mixture import CachedMixtureDataset, split_flip
from nextvid_mm.datasets.latent_cache import LatentCacheWriter

FIXED = [
    dict(type='CachedDecordInit', cache_dir='cache'),
    dict(type='SampleClipByTime', fps=8, test_mode=True),
    dict(type='mmaction.DecordDecode'),
    dict(type='mmaction.Resize', scale=(16, 16), keep_ratio=False),
]
FLIP = dict(type='mmaction.Flip', flip_ratio=0.5)


def source(pipeline, name='videos'):
    return dict(name=name, weight=1.0, dataset=dict(pipeline=copy.deepcopy(pipeline)))


def test_the_flip_is_taken_out_and_speed_does_not_count():
    fixed, flips = split_flip(source([*FIXED, FLIP, dict(type='mmaction.FormatShape')]))
    assert flips
    assert [step['type'] for step in fixed][-2:] == ['mmaction.Resize', 'mmaction.FormatShape']
    assert fixed[0] == dict(type='CachedDecordInit')
    assert not split_flip(source(FIXED))[1]


@pytest.mark.parametrize(
    ('pipeline', 'message'),
    [
        (
            [dict(type='mmaction.RandomResizedCrop')],
            "source 'videos': mmaction.RandomResizedCrop is not permitted with cached targets",
        ),
        ([FLIP, FIXED[3]], 'mmaction.Resize after the flip is not permitted'),
        ([FLIP, FLIP], 'cached targets permit one Flip'),
        ([FLIP | dict(direction='vertical')], 'one Flip with direction=horizontal'),
        (
            [dict(type='SampleClipByTime', fps=8)],
            'SampleClipByTime draws clips at random.*set test_mode=True',
        ),
    ],
)
def test_random_augmentations_are_refused(pipeline, message):
    with pytest.raises(ValueError, match=message):
        split_flip(source(pipeline))


def test_sources_need_names():
    with pytest.raises(ValueError, match='need a `name` for every source'):
        split_flip(dict(weight=1.0, dataset=dict(pipeline=FIXED)))


def make(folder, sources, pipeline=()):
    return CachedMixtureDataset(sources, str(folder), list(pipeline))


def test_other_clips_than_the_cached_ones_are_refused(tmp_path):
    settings = dict(sources=dict(videos=dict(pipeline=split_flip(source(FIXED))[0], flips=False)))
    with LatentCacheWriter(tmp_path, settings):
        pass
    with pytest.raises(ValueError, match="has no source 'images', only videos"):
        make(tmp_path, [source(FIXED, 'images')])
    with pytest.raises(ValueError, match=r"'videos': its pipeline is not the one.*\n  cached: "):
        make(tmp_path, [source(FIXED[:3])])
    with pytest.raises(ValueError, match="'videos' flips clips, but .* was cached without"):
        make(tmp_path, [source([*FIXED, FLIP])])
    with pytest.raises(ValueError, match='pipeline of the mixture: mmaction.ColorJitter is not'):
        make(tmp_path, [source(FIXED)], [dict(type='mmaction.ColorJitter')])
