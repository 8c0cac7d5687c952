"""Cached targets against the same clips encoded online."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from caching import fixed_config, write_media
from mmengine.registry import DefaultScope
from tiny import build

from nextvid_mm.datasets import ClipSampler, LatentCache, collate_clips
from nextvid_mm.engine.latents.caching import cache_latents
from nextvid_mm.engine.latents.target_pass import TargetPass
from nextvid_mm.registry import DATASETS

TOOL = Path(__file__).resolve().parents[3] / 'tools/cache_latents.py'
# Half a unit in the last of bfloat16's 8 bits.
TOLERANCE = dict(float32=1e-6, bfloat16=2**-8)


@pytest.fixture
def cfg(tmp_path):
    folder = write_media(tmp_path)
    return fixed_config(folder / 'clips', folder / 'images')


def cached_dataset(cfg, folder):
    settings = dict(cfg.train_dataloader.dataset, type='CachedMixtureDataset', cache_dir=folder)
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        return DATASETS.build(settings)


@pytest.mark.parametrize('dtype', TOLERANCE)
def test_training_from_the_cache_equals_the_online_path(cfg, tmp_path, dtype):
    report = cache_latents(cfg, tmp_path / 'cache', dtype, batch_size=3, shard_size=4, quiet=True)
    assert (report.written, report.kept, report.unreadable) == (5 * 2 + 3, 0, [])
    online, dataset = TargetPass(cfg), cached_dataset(cfg, str(tmp_path / 'cache'))
    asked = ClipSampler(dataset, seed=1).requests(np.arange(24), 8)
    batch = collate_clips([dataset[request] for request in asked])
    data = online.preprocessor(batch, training=True)
    clip, samples = data['inputs'].flatten(0, 1), data['data_samples']
    flips = {clip.get('flip', False) for clip in samples.info}
    assert flips == {False, True}
    assert {clip['static'] for clip in samples.info} == {False, True}
    model = build(target_generator=dict(type='CachedLatentTarget', channels=96, patch_size=4))
    cached, expected = (g(clip, samples) for g in (model.target_generator, online.target))
    torch.testing.assert_close(cached, expected, atol=1e-6, rtol=TOLERANCE[dtype])
    assert model.loss(clip, samples)['loss_flow'].isfinite()


def test_a_second_pass_only_adds_what_is_missing(cfg, tmp_path):
    cache_latents(cfg, tmp_path / 'cache', quiet=True)
    assert cache_latents(cfg, tmp_path / 'cache', quiet=True).kept == 13
    more = cache_latents(cfg, tmp_path / 'cache', num_frames=[4], quiet=True)
    assert (more.written, more.kept) == (13, 13)
    entry = next(n for n in LatentCache(tmp_path / 'cache')._shard_of if n.startswith('images|8'))
    assert LatentCache(tmp_path / 'cache').read(entry).shape == (1, 16, 96)


def test_files_that_cannot_be_read_are_reported(cfg, tmp_path):
    broken = tmp_path / 'clips' / '1.mp4'
    broken.write_bytes(b'no video')
    report = cache_latents(cfg, tmp_path / 'cache', quiet=True)
    assert report.unreadable == [str(broken)]
    assert report.written == 4 * 2 + 3


def test_the_tool_says_what_it_did_or_what_is_wrong(cfg, tmp_path, monkeypatch, capsys):
    cfg.dump(tmp_path / 'config.py')
    words = ['cache_latents.py', str(tmp_path / 'config.py'), str(tmp_path / 'cache')]
    monkeypatch.setattr(sys, 'argv', words)
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '13 entries written, 0 were there; 0 files could' in capsys.readouterr().out
    cfg.train_dataloader.dataset.sources[0].dataset.pipeline[1].test_mode = False
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match=r"error: source 'videos': SampleClipByTime"):
        runpy.run_path(str(TOOL), run_name='__main__')


def test_an_unknown_type_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match="dtype='float16' is not one of float32, bfloat16"):
        cache_latents(cfg, tmp_path, dtype='float16')
