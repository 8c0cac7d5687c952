"""Full-size V-JEPA checkpoints in the published layouts against definitions."""

import pytest
import torch
from published import (
    Slab,
    embed,
    imagenet_pixels,
    norm,
    norm_state,
    run_blocks,
    vit_state,
    vjepa_rotation,
)
from torch.nn.functional import interpolate

from nextvid_mm.interop.vjepa import from_vjepa, from_vjepa2, pair_order

# ViT-L/16, as released: 24 blocks of width 1024 with 16 heads.
LARGE = dict(width=1024, depth=24, hidden=4096, kernel=(3, 2, 16, 16))
SMALL = dict(width=384, depth=12, hidden=1536, kernel=(3, 2, 16, 16))
CLIP = torch.rand(1, 3, 6, 48, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
GRID = (3, 3, 4)


def wrapped(state):
    return {f'module.backbone.{name}': value for name, value in state.items()}


def vjepa_weights(arch, seed=0):
    slab = Slab(seed)
    return vit_state(**arch, slab=slab) | norm_state('norm', arch['width'], slab)


def test_v_jepa_2_large_with_the_released_rotation(tmp_path):
    state, path = vjepa_weights(LARGE), tmp_path / 'vitl.pt'
    table = dict(pos_embed=torch.zeros(1, 8192, 1024))
    parts = dict(target_encoder=wrapped(state | table), predictor={}, epoch=240, opt=None)
    torch.save(parts, path)
    converted = from_vjepa2(path)
    assert converted.backbone['positions'] == 'tiled_rope'
    assert converted.dropped == ('pos_embed',)
    with torch.no_grad():
        encoder = converted.build()
        tokens = encoder.encode_layers(CLIP)[-1].flatten(1, 2)
        x = embed(state, imagenet_pixels(CLIP))
        expected = norm(state, 'norm', run_blocks(state, x, 16, vjepa_rotation(GRID, tiled=True)))
        proper = norm(state, 'norm', run_blocks(state, x, 16, vjepa_rotation(GRID, tiled=False)))
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
    assert (tokens - proper).abs().max() > 1e-2  # the slip is no rounding


def test_the_target_encoder_is_the_default_and_the_encoder_a_choice(tmp_path):
    a, b, path = vjepa_weights(SMALL, 1), vjepa_weights(SMALL, 2), tmp_path / 'both.pt'
    torch.save(dict(encoder=wrapped(a), target_encoder=wrapped(b)), path)
    for choice, state in ((None, b), ('encoder', a)):
        stored = from_vjepa2(path, encoder=choice).state['blocks.0.mlp.fc1.weight']
        assert torch.equal(stored, state['blocks.0.mlp.fc1.weight'])
    with pytest.raises(ValueError, match='--size=0 must be a whole number'):
        from_vjepa2(path, size=0)
    with pytest.raises(ValueError, match=r'no encoder ema_encoder; it holds encoder, target_enc'):
        from_vjepa2(path, encoder='ema_encoder')


def test_v_jepa_2_1_rotates_properly_over_a_fixed_span(tmp_path):
    slab, path = Slab(3), tmp_path / 'v21.pt'
    state = vit_state(**SMALL, slab=slab)
    for number in range(4):
        state |= norm_state(f'norms_block.{number}', 384, slab)
    state |= {
        'video_mod_embed': slab.take(1, 1, 384),
        'img_mod_embed': slab.take(1, 1, 384),
        'patch_embed_img.proj.weight': slab.take(384, 3, 1, 16, 16),
        'patch_embed_img.proj.bias': slab.take(384),
    }
    torch.save(dict(ema_encoder=wrapped(state)), path)
    with torch.no_grad():
        tokens = from_vjepa2(path, size=384).build().encode_layers(CLIP)[-1].flatten(1, 2)
        x = embed(state, imagenet_pixels(CLIP)) + state['video_mod_embed']
        x = run_blocks(state, x, 6, vjepa_rotation(GRID, tiled=False, span=16))
    expected = norm(state, 'norms_block.3', x)
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


def test_the_first_v_jepa_adds_a_table_of_positions(tmp_path):
    state, path = vjepa_weights(SMALL), tmp_path / 'vjepa.pth.tar'
    table = Slab(4).take(1, 8 * 14 * 14, 384)
    torch.save(dict(target_encoder=wrapped(state | dict(pos_embed=table))), path)
    cube = table.view(1, 8, 14, 14, 384).permute(0, 4, 1, 2, 3)
    cube = interpolate(cube, size=GRID, mode='trilinear').flatten(2).transpose(1, 2)
    with torch.no_grad():
        encoder = from_vjepa(path).build()
        x = embed(state, imagenet_pixels(CLIP)) + cube
        expected = norm(state, 'norm', run_blocks(state, x, 6))
        tokens = encoder.encode_layers(CLIP)[-1].flatten(1, 2)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)
        short = torch.rand(1, 3, 4, 224, 224) * 2 - 1  # fewer frames: stretched in time as well
        cube = table.view(1, 8, 14, 14, 384).permute(0, 4, 1, 2, 3)
        cube = interpolate(cube, scale_factor=(2 / 8, 1, 1), mode='trilinear')
        x = embed(state, imagenet_pixels(short)) + cube.flatten(2).transpose(1, 2)
        expected = norm(state, 'norm', run_blocks(state, x, 6))
        tokens = encoder.encode_layers(short)[-1].flatten(1, 2)
        torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('head_dim', [64, 80, 6, 32])
def test_the_order_of_channels_is_a_permutation(head_dim):
    assert sorted(pair_order(head_dim).tolist()) == list(range(head_dim))


def test_a_model_of_another_size_is_named_with_both_shapes(tmp_path):
    state, path = vjepa_weights(SMALL), tmp_path / 'odd.pt'
    state['blocks.2.attn.proj.weight'] = torch.zeros(768, 768)
    torch.save(dict(target_encoder=wrapped(state)), path)
    message = r'blocks.2.attn.proj.weight: \(768, 768\) in the file, \(384, 384\) expected'
    with pytest.raises(ValueError, match=message):
        from_vjepa2(path).check()
