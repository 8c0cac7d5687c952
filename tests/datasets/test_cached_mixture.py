import copy
import json
import pickle

import pytest
import torch
from safetensors.torch import save_file

from nextvid_mm.datasets.cached_mixture import (
    CachedMixtureDataset,
    LatentCache,
    LatentCacheWriter,
    entry_name,
    split_flip,
)

FIXED = [
    dict(type='VideoInit', cache_dir='cache'),
    dict(type='SampleClipByTime', fps=8, test_mode=True),
    dict(type='VideoDecode'),
    dict(type='mmaction.Resize', scale=(16, 16), keep_ratio=False),
]
FLIP = dict(type='mmaction.Flip', flip_ratio=0.5)


def source(pipeline, name='videos'):
    return dict(name=name, weight=1.0, dataset=dict(pipeline=copy.deepcopy(pipeline)))


def test_the_flip_is_taken_out_and_speed_does_not_count():
    fixed, flips = split_flip(source([*FIXED, FLIP, dict(type='mmaction.FormatShape')]))
    assert flips
    assert [step['type'] for step in fixed][-2:] == ['mmaction.Resize', 'mmaction.FormatShape']
    assert fixed[0] == dict(type='VideoInit')
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


SETTINGS = dict(dtype='float32', sources=dict(videos=dict(flips=False)))


def name(number):
    return entry_name('videos', f'clips/{number}.mp4', 16, flipped=False)


def fill(folder, numbers, shard_size=2):
    with LatentCacheWriter(folder, SETTINGS, shard_size) as writer:
        for number in numbers:
            if name(number) not in writer:
                writer.add(name(number), torch.full((3, 4, 2), float(number)))


def test_what_is_written_is_read_from_shards(tmp_path):
    fill(tmp_path, range(5))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'index.json', *(f'shard-0000{n}.safetensors' for n in range(3))
    ]  # fmt: skip
    cache = LatentCache(tmp_path)
    assert len(cache) == 5
    assert cache.settings == SETTINGS
    for number in range(5):
        assert torch.equal(cache.read(name(number)), torch.full((3, 4, 2), float(number)))


def test_bfloat16_stays_bfloat16(tmp_path):
    with LatentCacheWriter(tmp_path, SETTINGS) as writer:
        writer.add('a', torch.ones(1, 2, 3, dtype=torch.bfloat16))
    assert LatentCache(tmp_path).read('a').dtype == torch.bfloat16


def test_a_run_that_was_killed_continues_after_its_last_shard(tmp_path):
    writer = LatentCacheWriter(tmp_path, SETTINGS, shard_size=2).__enter__()
    for number in range(5):
        writer.add(name(number), torch.zeros(1))
    del writer  # killed: the fifth entry was never written
    save_file({'half': torch.zeros(1)}, tmp_path / 'shard-00002.safetensors')  # and no index of it
    again = LatentCacheWriter(tmp_path, SETTINGS)
    assert [name(number) in again for number in range(5)] == [True] * 4 + [False]
    fill(tmp_path, range(6))
    assert len(LatentCache(tmp_path)) == 6
    assert LatentCache(tmp_path).read(name(5)).max() == 5


def test_another_process_opens_the_files_itself(tmp_path):
    fill(tmp_path, range(2))
    cache = LatentCache(tmp_path)
    first = cache.read(name(1))
    assert torch.equal(pickle.loads(pickle.dumps(cache)).read(name(1)), first)


def test_entries_differ_by_all_that_they_are_of():
    names = {
        entry_name(source, path, frames, flipped)
        for source in 'ab' for path in 'cd' for frames in (8, 16) for flipped in (False, True)
    }  # fmt: skip
    assert len(names) == 16


def test_another_cache_in_the_folder_is_refused(tmp_path):
    fill(tmp_path, range(1))
    with pytest.raises(ValueError, match=r"other settings.*\n  dtype: 'float32' -> 'bfloat16'"):
        LatentCacheWriter(tmp_path, SETTINGS | dict(dtype='bfloat16'))
    with pytest.raises(ValueError, match='shard_size=0 must be a whole number'):
        LatentCacheWriter(tmp_path, SETTINGS, shard_size=0)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no latent cache .*tools/cache_latents.py'):
        LatentCache(tmp_path)
    fill(tmp_path, range(1))
    with pytest.raises(LookupError, match=r'no entry .videos\|16\|plain\|clips/7.mp4'):
        LatentCache(tmp_path).read(name(7))
    index = LatentCache(tmp_path).read_index(tmp_path)
    (tmp_path / 'index.json').write_text(json.dumps(index | dict(format=9)))
    with pytest.raises(ValueError, match='has format 9, expected 1'):
        LatentCache(tmp_path)
