"""VA-VAE targets against latent diffusion written out, through a file in the released format."""

import pytest
import torch
from ldm import LDM

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

SMALL = dict(patch_size=4, base_channels=32, channel_mult=(1, 2, 2), latent_channels=4)


@pytest.fixture
def released(tmp_path):
    """An autoencoder and its file: wrapped in ``state_dict``, with parts that are not its own."""
    ldm = LDM().eval()
    state = ldm.state_dict() | {
        'loss.logvar': torch.zeros(()),
        'foundation_model.model.cls_token': torch.zeros(3),
    }
    path = tmp_path / 'vavae.pt'
    torch.save(dict(state_dict=state), path)
    return ldm, path


def make(path, **changes):
    target = MODELS.build(dict(type='VAVAETarget', checkpoint=str(path), **SMALL) | changes)
    target.init_weights()
    return target


def test_latents_equal_latent_diffusion_frame_by_frame(released):
    ldm, path = released
    clip = torch.rand(2, 3, 4, 16, 16) * 2 - 1
    tokens = make(path).encode(clip)
    assert tokens.shape == (2, 2, 16, 8)
    for frame in range(4):
        latent = ldm.encode(clip[:, :, frame]).flatten(2).transpose(1, 2)
        part = tokens[:, frame // 2, :, 4 * (frame % 2) : 4 * (frame % 2) + 4]
        torch.testing.assert_close(part, latent, atol=1e-4, rtol=1e-4)


def test_decoding_equals_latent_diffusion(released):
    ldm, path = released
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    target = make(path)
    frames = target.decode(target.encode(clip), TokenGrid(2, 4, 4))
    for frame in range(4):
        expected = ldm.decode(ldm.encode(clip[:, :, frame]))
        torch.testing.assert_close(frames[:, :, frame], expected, atol=1e-4, rtol=1e-4)


def test_statistics_are_per_latent_channel(released):
    _, path = released
    plain = make(path)
    scaled = make(path, mean=[1.0, 2.0, 3.0, 4.0], std=[2.0, 2.0, 2.0, 4.0])
    clip = torch.rand(1, 3, 6, 16, 16)
    expected = (plain(clip).unflatten(-1, (2, 4)) - torch.tensor([1.0, 2, 3, 4])) / torch.tensor(
        [2.0, 2, 2, 4]
    )
    clean = scaled(clip)
    torch.testing.assert_close(clean.unflatten(-1, (2, 4)), expected)
    torch.testing.assert_close(scaled.denormalize(clean), plain(clip), atol=1e-5, rtol=1e-5)


def test_it_is_frozen(released):
    target = make(released[1]).train()
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())


def test_what_is_no_part_of_the_autoencoder_is_listed(released):
    ldm, path = released
    torch.save(ldm.state_dict() | {'teacher.weight': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r'unexpected \(1\): teacher.weight'):
        make(path)


def test_the_architecture_is_the_released_one():
    target = MODELS.build(dict(type='VAVAETarget', checkpoint='not read'))
    assert target.channels == 64
    assert target.network.config.block_out_channels == [128, 128, 256, 256, 512]
    assert target.network.config.layers_per_block == 2


def test_a_stride_that_does_not_divide_the_patch_is_refused(released):
    with pytest.raises(ValueError, match='VAVAETarget has stride 4, .* patch_size=6'):
        make(released[1], patch_size=6)


def test_the_full_size_equals_latent_diffusion(tmp_path):
    """128 channels, (1, 1, 2, 2, 4), z 32, as released; a small picture is enough."""
    ldm = LDM(ch=128, mult=(1, 1, 2, 2, 4), z=32).eval()
    path = tmp_path / 'vavae.pt'
    torch.save(dict(state_dict=ldm.state_dict()), path)
    target = MODELS.build(dict(type='VAVAETarget', checkpoint=str(path)))
    target.init_weights()
    clip = torch.rand(1, 3, 4, 32, 32) * 2 - 1
    tokens = target(clip).unflatten(-1, (2, 32))
    assert tokens.shape == (1, 1, 4, 2, 32)
    for frame in (2, 3):
        latent = ldm.encode(clip[:, :, frame]).flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens[:, 0, :, frame - 2], latent, atol=1e-4, rtol=1e-4)
