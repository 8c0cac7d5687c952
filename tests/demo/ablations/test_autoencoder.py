import pytest
import torch

from nextvid_mm.config_files import checked_config
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.demo.ablations import autoencoder
from nextvid_mm.demo.ablations.autoencoder import load_frames, make_autoencoder, train
from nextvid_mm.demo.ablations.tables import AUTOENCODER
from nextvid_mm.registry import MODELS

SMALL = dict(
    down_block_types=['DownEncoderBlock2D'] * 3,
    up_block_types=['UpDecoderBlock2D'] * 3,
    block_out_channels=[8, 8, 16],
    layers_per_block=1,
    latent_channels=4,
    norm_num_groups=4,
)


def faces(count):
    """One-colour pictures."""
    return (torch.rand(count, 3, 1, 1) * 2 - 1).expand(-1, -1, 16, 16).contiguous()


def test_pictures_come_back_and_latents_have_unit_variance():
    torch.manual_seed(0)
    frames = faces(64)
    network = train(SMALL, frames, 60)
    with torch.no_grad():
        latents = network.encode(frames).latent_dist.mean
        error = (network.decode(latents).sample - frames).square().mean() / frames.var()
    assert error < 0.7
    scaled = (latents - network.config.shift_factor) * network.config.scaling_factor
    assert float(scaled.std()) == pytest.approx(1, abs=0.05)


def test_it_is_trained_once_and_read_as_a_target(tmp_path, monkeypatch):
    for number in range(3):
        clip = ((faces(4) + 1) * 127).byte().movedim(1, -1).repeat_interleave(4, 1)
        path = tmp_path / f'videos_train/{number}.mp4'
        path.parent.mkdir(exist_ok=True)
        encode_video(path, clip.repeat_interleave(4, 2).numpy(), 8)
    assert load_frames(tmp_path).shape == (6, 3, 64, 64)
    folder = make_autoencoder(tmp_path, tmp_path / 'weights', steps=1)
    monkeypatch.setattr(autoencoder, 'train', None)
    assert make_autoencoder(tmp_path, folder) == folder
    settings = checked_config(AUTOENCODER).model.target_generator | dict(checkpoint=str(folder))
    target = MODELS.build(settings)
    target.init_weights()
    assert target(torch.rand(1, 3, 8, 64, 64)).shape == (1, 3, 16, target.channels)
