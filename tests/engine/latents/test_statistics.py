import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from caching import fixed_config, write_media
from diffusers import AutoencoderKL

from nextvid_mm.datasets import ClipSampler
from nextvid_mm.engine.latents.statistics import compute_statistics
from nextvid_mm.engine.latents.target_pass import TargetPass
from nextvid_mm.models.target_generators.statistics import read_statistics

TOOL = Path(__file__).resolve().parents[3] / 'tools/compute_latent_stats.py'
VAE = dict(
    down_block_types=['DownEncoderBlock2D'] * 2,
    up_block_types=['UpDecoderBlock2D'] * 2,
    block_out_channels=[32, 32],
    layers_per_block=1,
    latent_channels=3,
)


@pytest.fixture(scope='module')
def cfg(tmp_path_factory):
    """Targets of a random autoencoder of stride 2: two squares per side of a patch."""
    folder = write_media(tmp_path_factory.mktemp('media'))
    AutoencoderKL(**VAE).save_pretrained(folder / 'vae')
    made = fixed_config(folder / 'clips', folder / 'images')
    made.model.target_generator = dict(
        type='DiffusersVAETarget', checkpoint=str(folder / 'vae'), patch_size=4
    )
    return made


def test_statistics_are_those_of_the_targets_training_would_see(cfg):
    mean, std = compute_statistics(cfg, num_clips=12, batch_size=5, seed=3, quiet=True)
    run = TargetPass(cfg, overrides=dict(mean=0.0, std=1.0))
    asked = ClipSampler(run.dataset, 3).requests(np.arange(12), 8)
    raw = torch.cat([run.target(*batch) for batch in run.batches(asked, 12)])
    channels = raw.unflatten(-1, (-1, 3)).flatten(0, -2).double()
    torch.testing.assert_close(mean, channels.mean(0).float())
    torch.testing.assert_close(std, channels.std(0, correction=0).float())


def test_the_tool_writes_a_file_that_normalises(cfg, tmp_path, monkeypatch, capsys):
    cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'stats.pt'
    words = [str(tmp_path / 'config.py'), str(out), '--clips', '8']
    monkeypatch.setattr(sys, 'argv', ['compute_latent_stats.py', *words])
    runpy.run_path(str(TOOL), run_name='__main__')
    assert '3 channels over 8 clips' in capsys.readouterr().out
    read_statistics(out, 3)
    run = TargetPass(cfg, overrides=dict(statistics=str(out)))
    asked = ClipSampler(run.dataset, 0).requests(np.arange(8), 8)
    clean = torch.cat([run.target(*batch) for batch in run.batches(asked, 8)])
    channels = clean.unflatten(-1, (-1, 3)).flatten(0, -2)
    torch.testing.assert_close(channels.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(channels.std(0), torch.ones(3), atol=1e-3, rtol=0)
    monkeypatch.setattr(sys, 'argv', ['compute_latent_stats.py', words[0], 'stats.npz'])
    with pytest.raises(SystemExit, match=r'compute_latent_stats: error: stats.npz must end in'):
        runpy.run_path(str(TOOL), run_name='__main__')


def test_what_has_no_statistics_is_refused(cfg):
    pixels = cfg.copy()
    pixels.model.target_generator = dict(type='PixelTarget', patch_size=4)
    with pytest.raises(ValueError, match='PixelTarget takes no file of statistics'):
        compute_statistics(pixels, num_clips=1)
    with pytest.raises(ValueError, match='clips=0 and batch_size=8 must be at least 1'):
        compute_statistics(cfg, num_clips=0)
