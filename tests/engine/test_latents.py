"""Targets outside of training: passes, statistics, and a cache equal to the online path."""

import copy
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from caching import fixed_config, write_media
from diffusers import AutoencoderKL
from mmengine.registry import DefaultScope
from tiny import build

from nextvid_mm.datasets import ClipSampler, LatentCache, collate_clips
from nextvid_mm.datasets.request import ClipRequest
from nextvid_mm.engine.latents import TargetPass, cache_latents, compute_statistics, frames_of
from nextvid_mm.models.target_generators.pretrained import read_statistics
from nextvid_mm.registry import DATASETS
from nextvid_mm.run_folder import own_folder


@pytest.fixture(scope='module')
def media(tmp_path_factory):
    return write_media(tmp_path_factory.mktemp('media'))


def config(media, **changes):
    return fixed_config(media / 'clips', media / 'images', **changes)


def requests(count, seed=0):
    return [ClipRequest(n, 0, n, num_frames=8, seed=seed + n) for n in range(count)]


def test_clips_come_in_order_as_the_model_gets_them(media):
    run = TargetPass(config(media))
    batches = list(run.batches(requests(5), batch_size=2))
    assert [len(batch.clip) for batch in batches] == [2, 2, 1]
    paths = [info['path'][-5:] for clips in batches for info in clips.batch.info]
    assert paths == [f'{n}.mp4' for n in range(5)]
    clip = batches[0].clip
    assert clip.shape == (2, 3, 8, 16, 16)
    assert clip.min() >= -1
    assert clip.max() <= 1
    assert batches[0].batch.masks == ()
    assert run.target(*batches[0]).shape == (2, 3, 16, 96)


def test_flips_are_left_out_on_request(media):
    plain = TargetPass(config(media), keep_flips=False)
    turned = TargetPass(config(media), keep_flips=True)
    asked = requests(5, seed=10)
    differ = [
        not torch.equal(a.clip, b.clip)
        for a, b in zip(plain.batches(asked, 1), turned.batches(asked, 1), strict=True)
    ]
    assert any(differ)
    assert not all(differ)


def test_keys_of_the_target_can_be_replaced(media):
    run = TargetPass(config(media), overrides=dict(pool=2))
    assert run.target.channels == 24


def test_all_lengths_of_the_stages_count_once(media):
    cfg = config(media)
    stage = cfg.train_cfg.stages[0]
    cfg.train_cfg.stages = [stage, dict(stage, name='b', num_frames=4), dict(stage, name='c')]
    assert frames_of(cfg) == [4, 8]


def test_a_config_without_its_parts_is_refused(media):
    cfg = config(media)
    cfg.train_dataloader.dataset.type = 'CachedMixtureDataset'
    with pytest.raises(ValueError, match='dataset.type=MixtureDataset, found .*CachedMixture'):
        TargetPass(cfg)


STATISTICS_TOOL = Path(__file__).resolve().parents[2] / 'tools/compute_latent_stats.py'
VAE = dict(
    down_block_types=['DownEncoderBlock2D'] * 2,
    up_block_types=['UpDecoderBlock2D'] * 2,
    block_out_channels=[32, 32],
    layers_per_block=1,
    latent_channels=3,
)


@pytest.fixture(scope='module')
def vae_cfg(tmp_path_factory):
    """Targets of a random autoencoder of stride 2: two squares per side of a patch."""
    folder = write_media(tmp_path_factory.mktemp('media'))
    AutoencoderKL(**VAE).save_pretrained(folder / 'vae')
    made = fixed_config(folder / 'clips', folder / 'images')
    made.model.target_generator = dict(
        type='DiffusersVAETarget', checkpoint=str(folder / 'vae'), patch_size=4
    )
    return made


def test_statistics_are_those_of_the_targets_training_would_see(vae_cfg):
    mean, std = compute_statistics(vae_cfg, num_clips=12, batch_size=5, seed=3, quiet=True)
    run = TargetPass(vae_cfg, overrides=dict(mean=0.0, std=1.0))
    asked = ClipSampler(run.dataset, 3).requests(np.arange(12), 8)
    raw = torch.cat([run.target(*batch) for batch in run.batches(asked, 12)])
    channels = raw.unflatten(-1, (-1, 3)).flatten(0, -2).double()
    torch.testing.assert_close(mean, channels.mean(0).float())
    torch.testing.assert_close(std, channels.std(0, correction=0).float())


def test_the_tool_writes_a_file_that_normalises(vae_cfg, tmp_path, monkeypatch, capsys):
    vae_cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'stats.pt'
    words = [str(tmp_path / 'config.py'), str(out), '--clips', '8']
    monkeypatch.setattr(sys, 'argv', ['compute_latent_stats.py', *words])
    runpy.run_path(str(STATISTICS_TOOL), run_name='__main__')
    assert '3 channels over 8 clips' in capsys.readouterr().out
    read_statistics(out, 3)
    run = TargetPass(vae_cfg, overrides=dict(statistics=str(out)))
    asked = ClipSampler(run.dataset, 0).requests(np.arange(8), 8)
    clean = torch.cat([run.target(*batch) for batch in run.batches(asked, 8)])
    channels = clean.unflatten(-1, (-1, 3)).flatten(0, -2)
    torch.testing.assert_close(channels.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(channels.std(0), torch.ones(3), atol=1e-3, rtol=0)
    monkeypatch.setattr(sys, 'argv', ['compute_latent_stats.py', words[0], 'stats.npz'])
    with pytest.raises(SystemExit, match=r'compute_latent_stats: error: stats.npz must end in'):
        runpy.run_path(str(STATISTICS_TOOL), run_name='__main__')


def test_what_has_no_statistics_is_refused(vae_cfg):
    pixels = copy.deepcopy(vae_cfg)
    pixels.model.target_generator = dict(type='PixelTarget', patch_size=4)
    with pytest.raises(ValueError, match='PixelTarget takes no file of statistics'):
        compute_statistics(pixels, num_clips=1)
    with pytest.raises(ValueError, match='clips=0 must be a whole number of at least 1'):
        compute_statistics(vae_cfg, num_clips=0)


def test_parts_of_one_video_have_targets_of_their_own(media, tmp_path):
    cfg = config(media, flip=False)
    (tmp_path / 'list.csv').write_text('path,start,end\n0.mp4,0,1\n0.mp4,1,2\n0.mp4,,\n')
    video, _ = cfg.train_dataloader.dataset.sources
    video.dataset = dict(
        type='ClipListDataset', ann_file=str(tmp_path / 'list.csv'),
        data_prefix=dict(video=str(media / 'clips')), pipeline=video.dataset.pipeline,
    )  # fmt: skip
    report = cache_latents(cfg, tmp_path / 'cache', 'float32', [8], quiet=True)
    assert report.written == 3 + 3
    train = dict(cfg.train_dataloader.dataset, type='CachedMixtureDataset')
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        cached = DATASETS.build(dict(train, cache_dir=str(tmp_path / 'cache')))
    online = TargetPass(cfg)
    for request in requests(3):
        (batch,) = online.batches([request], 1)
        target = cached[request]['data_samples'].target
        torch.testing.assert_close(target, online.target(*batch)[0])


CACHE_TOOL = Path(__file__).resolve().parents[2] / 'tools/cache_latents.py'
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
    runpy.run_path(str(CACHE_TOOL), run_name='__main__')
    assert '13 entries written, 0 were there; 0 files could' in capsys.readouterr().out
    with own_folder(tmp_path / 'cache'), pytest.raises(SystemExit, match='cache is in use by'):
        runpy.run_path(str(CACHE_TOOL), run_name='__main__')
    cfg.train_dataloader.dataset.sources[0].dataset.pipeline[1].test_mode = False
    cfg.dump(tmp_path / 'config.py')
    with pytest.raises(SystemExit, match=r"error: source 'videos': SampleClipByTime"):
        runpy.run_path(str(CACHE_TOOL), run_name='__main__')


def test_an_unknown_type_is_refused(cfg, tmp_path):
    with pytest.raises(ValueError, match="dtype='float16' is not one of float32, bfloat16"):
        cache_latents(cfg, tmp_path, dtype='float16')
