"""Targets of any diffusers autoencoder, against latent diffusion written out."""

import json

import pytest
import torch
from diffusers import AutoencoderKL
from ldm import LDM
from safetensors.torch import load_file, save_file

from nextvid_mm.layers import TokenGrid
from nextvid_mm.models.target_generators import pretrained
from nextvid_mm.models.target_generators.image_vae import from_ldm, from_old_diffusers, is_ldm
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
    settings = (
        dict(type='DiffusersVAETarget', checkpoint=str(path), patch_size=4, dtype=None) | changes
    )
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


def make_vavae(path, **changes):
    target = MODELS.build(
        dict(type='VAVAETarget', checkpoint=str(path), dtype=None, **SMALL) | changes
    )
    target.init_weights()
    return target


def test_latents_equal_latent_diffusion_frame_by_frame(released):
    ldm, path = released
    clip = torch.rand(2, 3, 4, 16, 16) * 2 - 1
    tokens = make_vavae(path).encode(clip)
    assert tokens.shape == (2, 2, 16, 8)
    for frame in range(4):
        latent = ldm.encode(clip[:, :, frame]).flatten(2).transpose(1, 2)
        part = tokens[:, frame // 2, :, 4 * (frame % 2) : 4 * (frame % 2) + 4]
        torch.testing.assert_close(part, latent, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('wrap', [
    lambda s: {f'module.{n}': v for n, v in s.items()},
    lambda s: {f'first_stage_model.{n}': v for n, v in s.items()} | {'model.x': torch.ones(1)},
    lambda s: {f'module.first_stage_model.{n}': v for n, v in s.items()},
    lambda s: dict(model=s),
    lambda s: dict(ema=s, model={n: v + 1 for n, v in s.items()}),
    lambda s: dict(state_dict=dict.fromkeys(s, torch.zeros(1)), state_dict_ema=s),
])  # fmt: skip
def test_files_of_training_codes_hold_the_same(released, tmp_path, wrap):
    ldm, path = released
    torch.save(wrap(ldm.state_dict()), tmp_path / 'wrapped.pt')
    plain, wrapped = make_vavae(path), make_vavae(tmp_path / 'wrapped.pt')
    state = wrapped.network.state_dict()
    assert all(torch.equal(v, state[n]) for n, v in plain.network.state_dict().items())


def test_decoding_equals_latent_diffusion(released):
    ldm, path = released
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    target = make_vavae(path)
    frames = target.decode(target.encode(clip), TokenGrid(2, 4, 4))
    for frame in range(4):
        expected = ldm.decode(ldm.encode(clip[:, :, frame]))
        torch.testing.assert_close(frames[:, :, frame], expected, atol=1e-4, rtol=1e-4)


def test_statistics_are_per_latent_channel(released):
    _, path = released
    plain = make_vavae(path)
    scaled = make_vavae(path, mean=[1.0, 2.0, 3.0, 4.0], std=[2.0, 2.0, 2.0, 4.0])
    clip = torch.rand(1, 3, 6, 16, 16)
    expected = (plain(clip).unflatten(-1, (2, 4)) - torch.tensor([1.0, 2, 3, 4])) / torch.tensor(
        [2.0, 2, 2, 4]
    )
    clean = scaled(clip)
    torch.testing.assert_close(clean.unflatten(-1, (2, 4)), expected)
    torch.testing.assert_close(scaled.denormalize(clean), plain(clip), atol=1e-5, rtol=1e-5)


def test_it_is_frozen(released):
    target = make_vavae(released[1]).train()
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())


def test_what_is_no_part_of_the_autoencoder_is_listed(released):
    ldm, path = released
    torch.save(ldm.state_dict() | {'teacher.weight': torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r'unexpected \(1\): teacher.weight'):
        make_vavae(path)


def test_the_architecture_is_the_released_one():
    target = MODELS.build(dict(type='VAVAETarget', checkpoint='not read'))
    assert target.channels == 64
    assert target.network.config.block_out_channels == [128, 128, 256, 256, 512]
    assert target.network.config.layers_per_block == 2


def test_a_stride_that_does_not_divide_the_patch_is_refused_vavae(released):
    with pytest.raises(ValueError, match='VAVAETarget has stride 4, .* patch_size=6'):
        make_vavae(released[1], patch_size=6)


def test_the_full_size_equals_latent_diffusion(tmp_path):
    """128 channels, (1, 1, 2, 2, 4), z 32, as released; a small picture is enough."""
    ldm = LDM(ch=128, mult=(1, 1, 2, 2, 4), z=32).eval()
    path = tmp_path / 'vavae.pt'
    torch.save(dict(state_dict=ldm.state_dict()), path)
    target = MODELS.build(dict(type='VAVAETarget', checkpoint=str(path), dtype=None))
    target.init_weights()
    clip = torch.rand(1, 3, 4, 32, 32) * 2 - 1
    tokens = target(clip).unflatten(-1, (2, 32))
    assert tokens.shape == (1, 1, 4, 2, 32)
    for frame in (2, 3):
        latent = ldm.encode(clip[:, :, frame]).flatten(2).transpose(1, 2)
        torch.testing.assert_close(tokens[:, 0, :, frame - 2], latent, atol=1e-4, rtol=1e-4)


def test_names_levels_and_shapes_are_translated():
    conv = torch.zeros(4, 4, 1, 1)
    renamed = from_ldm(
        {
            'encoder.down.4.attn.1.q.weight': conv,
            'encoder.mid.block_2.nin_shortcut.weight': conv,
            'decoder.up.0.block.2.norm1.bias': torch.zeros(4),
            'decoder.norm_out.weight': torch.zeros(4),
        },
        levels=5,
    )
    assert {name: tuple(value.shape) for name, value in renamed.items()} == {
        'encoder.down_blocks.4.attentions.1.to_q.weight': (4, 4),
        'encoder.mid_block.resnets.1.conv_shortcut.weight': (4, 4, 1, 1),
        'decoder.up_blocks.4.resnets.2.norm1.bias': (4,),
        'decoder.conv_norm_out.weight': (4,),
    }


def test_formats_are_told_apart_and_old_names_renamed():
    assert is_ldm({'decoder.up.0.block.2.norm1.bias': torch.zeros(4)})
    old = {'decoder.mid_block.attentions.0.proj_attn.bias': torch.zeros(4)}
    assert not is_ldm(old)
    assert list(from_old_diffusers(old)) == ['decoder.mid_block.attentions.0.to_out.0.bias']


@torch.no_grad()
def test_bfloat16_weights_give_the_latents_of_float32_within_four_percent(tmp_path, monkeypatch):
    """The published layout (five levels, two blocks each, attention in the last), narrow."""
    shape = dict(type='VAVAETarget', checkpoint='none', base_channels=32)
    torch.manual_seed(0)
    exact = MODELS.build(dict(shape, dtype=None))
    monkeypatch.setattr(pretrained, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(pretrained, 'resolve_dtype', lambda name, _: getattr(torch, name))
    fast = MODELS.build(dict(shape, dtype='bfloat16'))
    fast.network.load_state_dict(exact.network.state_dict())
    assert {p.dtype for p in fast.network.parameters()} == {torch.bfloat16}
    assert fast.network.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    clip = torch.rand(1, 3, 4, 64, 64) * 2 - 1
    with torch.autocast('cpu', torch.bfloat16):  # changes neither
        wanted, found = exact(clip), fast(clip)
    assert wanted.dtype == found.dtype == torch.float32
    assert torch.equal(wanted, exact(clip))
    assert torch.equal(found, fast(clip))
    with torch.autocast('cpu', torch.bfloat16):
        images = clip[:, :, 2:].transpose(1, 2).flatten(0, 1)
        latents = exact.network.encode(images).latent_dist.mean.float()
    cast = latents.flatten(2).permute(2, 0, 1).flatten(1)[None, None]
    error = float((found - wanted).norm() / wanted.norm())
    assert 0 < error < 0.04
    assert error < 1.2 * float((cast - wanted).norm() / wanted.norm()), 'autocast is no better'


def test_an_unknown_type_is_refused(folder):
    with pytest.raises(ValueError, match="target_generator.dtype='half' is not one of"):
        make(folder, dtype='half')
