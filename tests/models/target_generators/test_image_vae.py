"""Targets of any diffusers autoencoder, against latent diffusion written out."""

import json

import pytest
import torch
from diffusers import AutoencoderKL
from ldm import LDM
from safetensors.torch import load_file, save_file

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.target_generators.ldm_keys import from_ldm
from nextvid_mm.registry import MODELS

# Stride 4 and 4 latent channels; attention in the middle only, as sd-vae-ft has it.
ARCHITECTURE = dict(
    down_block_types=['DownEncoderBlock2D'] * 3,
    up_block_types=['UpDecoderBlock2D'] * 3,
    block_out_channels=[32, 64, 64],
    layers_per_block=2,
    latent_channels=4,
)


@pytest.fixture
def folder(tmp_path):
    """A random autoencoder as diffusers publishes it."""
    AutoencoderKL(**ARCHITECTURE).save_pretrained(tmp_path / 'vae')
    return tmp_path / 'vae'


def make(path, **changes):
    settings = dict(type='DiffusersVAETarget', checkpoint=str(path), patch_size=4) | changes
    target = MODELS.build(settings)
    target.init_weights()
    return target


def test_a_published_folder_is_enough(folder):
    vae = AutoencoderKL.from_pretrained(folder)
    clip = torch.rand(2, 3, 6, 16, 16) * 2 - 1
    clean = make(folder)(clip)
    assert clean.shape == (2, 2, 16, 8)
    with torch.no_grad():
        latent = vae.encode(clip[:, :, 5]).latent_dist.mean * 0.18215
    torch.testing.assert_close(
        clean[:, 1, :, 4:], latent.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5
    )


def test_names_of_the_first_releases_are_understood(folder):
    file = folder / 'diffusion_pytorch_model.safetensors'
    state, old = load_file(file), {'to_q': 'query', 'to_k': 'key', 'to_v': 'value'}
    expected = make(folder)(torch.ones(1, 3, 4, 16, 16))
    for new, name in (*old.items(), ('to_out.0', 'proj_attn')):
        state = {key.replace(f'.{new}.', f'.{name}.'): value for key, value in state.items()}
    assert any('.proj_attn.' in key for key in state)
    save_file(state, file)
    assert torch.equal(make(folder)(torch.ones(1, 3, 4, 16, 16)), expected)


def test_a_patch_of_several_latents_stacks_them_on_channels(folder):
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    fine, coarse = make(folder), make(folder, patch_size=8)
    tokens = coarse(clip)
    assert tokens.shape == (1, 1, 4, 2 * 4 * 4)
    assert coarse.channels == 32
    latent = fine(clip)[0, 0].T.reshape(2, 4, 4, 4)  # frame, channel, row, column
    for frame, row, column in ((0, 0, 0), (1, 0, 1), (1, 3, 2)):
        place = (frame * 2 + row % 2) * 2 + column % 2
        part = tokens[0, 0, (row // 2) * 2 + column // 2].reshape(8, 4)[place]
        torch.testing.assert_close(part, latent[frame, :, row, column])


@pytest.mark.parametrize('patch', [4, 8])
def test_decoding_puts_every_latent_back(folder, patch):
    vae = AutoencoderKL.from_pretrained(folder)
    target, clip = make(folder, patch_size=patch), torch.rand(2, 3, 6, 16, 24) * 2 - 1
    pixels = target.to_pixels(target(clip), TokenGrid(2, 16 // patch, 24 // patch))
    with torch.no_grad():
        expected = vae.decode(vae.encode(clip[:, :, 3]).latent_dist.mean).sample.clamp(-1, 1)
    torch.testing.assert_close(pixels[:, :, 1], expected, atol=1e-4, rtol=1e-4)


def test_an_ldm_file_fills_the_same_autoencoder(tmp_path):
    """The format of Stability's own release, whose attention is 1x1 convolutions."""
    ldm = LDM().eval()
    for part in (ldm.encoder.down[-1], ldm.decoder.up[-1]):
        part.attn = torch.nn.ModuleList()
    torch.save(dict(state_dict=ldm.state_dict() | {'model_ema.decay': torch.ones(())}),
               tmp_path / 'vae.ckpt')  # fmt: skip
    target = make(tmp_path / 'vae.ckpt', architecture=ARCHITECTURE, mean=0.0, std=1.0)
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    expected = ldm.encode(clip[:, :, 2]).flatten(2).transpose(1, 2)
    torch.testing.assert_close(target(clip)[:, 0, :, :4], expected, atol=1e-4, rtol=1e-4)
    assert from_ldm(ldm.state_dict(), 3).keys() == target.network.state_dict().keys()


def test_its_own_scale_is_used_unless_another_is_given(folder):
    clip = torch.rand(1, 3, 4, 16, 16)
    own, raw = make(folder), make(folder, mean=0.0, std=1.0)
    torch.testing.assert_close(own(clip), raw(clip) * 0.18215)
    torch.testing.assert_close(own.denormalize(own(clip)), raw(clip), atol=1e-5, rtol=1e-5)
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | dict(shift_factor=0.5)))
    torch.testing.assert_close(make(folder)(clip), (raw(clip) - 0.5) * 0.18215)


def test_an_autoencoder_of_another_kind_is_refused(folder):
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | dict(_class_name='AutoencoderDC')))
    with pytest.raises(ValueError, match='describes a AutoencoderDC, not an AutoencoderKL'):
        make(folder)


def test_a_folder_of_another_size_names_the_first_difference(folder):
    wide = ARCHITECTURE | dict(block_out_channels=[32, 96, 64])
    message = (
        r'(?s)other shape .*: encoder\.down_blocks\.1\.resnets\.0\.conv1\.weight: '
        r'\(64, 32, 3, 3\) in the file, \(96, 32, 3, 3\) expected'
    )
    with pytest.raises(ValueError, match=message):
        make(folder, architecture=wide)


def test_a_stride_that_does_not_divide_the_patch_is_refused(folder):
    with pytest.raises(
        ValueError, match=r'DiffusersVAETarget has stride 4, which does not divide patch_size=14'
    ):
        make(folder, patch_size=14)
