"""Full-size checkpoints in the published layouts against definitions, MMAction2 and timm."""

import argparse
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
from exporting import save_checkpoint
from mmaction.registry import MODELS as MMACTION
from published import (
    Slab,
    counting_sinusoids,
    embed,
    imagenet_pixels,
    norm,
    norm_state,
    run_blocks,
    vit_state,
    vjepa_rotation,
)
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from nextvid_mm.interop import convert
from nextvid_mm.interop.published import (
    from_timm,
    from_videomae,
    from_vjepa,
    from_vjepa2,
    pair_order,
)
from nextvid_mm.models.checkpoints import read_checkpoint, stored_backbone

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'convert_checkpoint.py'


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


@pytest.fixture
def videomae(tmp_path):
    """A small VideoMAE in the published layout."""
    slab = Slab(size=1 << 20)
    state = vit_state(48, 2, 96, (3, 2, 16, 16), slab, qkv_bias=False)
    stored = {f'encoder.{k}': v for k, v in (state | norm_state('norm', 48, slab)).items()}
    path = tmp_path / 'videomae.pth'
    torch.save(dict(model=stored | {'decoder.norm.weight': slab.take(8)}), path)
    return path


def test_the_tool_converts_and_says_how_to_probe(tmp_path, videomae, monkeypatch, capsys):
    output = tmp_path / 'out.pth'
    run_tool(monkeypatch, '--from', 'videomae', '--heads', '4', videomae, output)
    printed = capsys.readouterr().out
    assert 'left out, no part of the encoder: decoder' in printed
    assert f'{output} --cfg-options model.encoder_weights=encoder' in printed
    stored = stored_backbone(read_checkpoint(output))
    assert (stored['type'], stored['arch']['num_heads']) == ('JointViT', 4)


def test_the_tool_exports_ours(tmp_path, monkeypatch, capsys):
    save_checkpoint(tmp_path / 'iter_5.pth')
    flags = ('--from', 'nextvid', '--to', 'safetensors', '--weights', 'encoder')
    run_tool(monkeypatch, *flags, tmp_path / 'iter_5.pth', tmp_path / 'encoder.safetensors')
    assert 'encoder.md' in capsys.readouterr().out
    assert 'trained encoder' in (tmp_path / 'encoder.md').read_text()


def test_the_tool_reports_a_misfit_without_a_traceback(tmp_path, videomae, monkeypatch):
    with pytest.raises(SystemExit, match=r'convert_checkpoint: error: .*no encoder') as end:
        run_tool(monkeypatch, '--from', 'vjepa2', videomae, tmp_path / 'out.pth')
    assert end.value.__context__ is not None
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize(
    ('source', 'target', 'options', 'message'),
    [
        ('nextvid', 'nextvid', {}, '--from nextvid --to nextvid: published encoders'),
        ('timm', 'safetensors', {}, '--from timm --to safetensors'),
        ('videomae', 'nextvid', dict(model='x'), r'takes no --model; it takes --heads'),
        ('vjepa', 'nextvid', dict(size=384), r'takes no --size; it takes --encoder, --heads'),
        ('timm', 'nextvid', {}, 'needs --model'),
    ],
)
def test_options_that_do_not_go_together(videomae, tmp_path, source, target, options, message):
    with pytest.raises(ValueError, match=message):
        convert(source, target, videomae, tmp_path / 'out.pth', **options)


# ViT-B/16 of VideoMAE, and ViT-g/14 of VideoMAEv2 with its depth cut (checked by shapes only).
BASE = dict(width=768, depth=12, hidden=3072, kernel=(3, 2, 16, 16))
CLIP_FRAMES, HEADS = 4, 12


def encoder_weights():
    slab = Slab()
    return vit_state(**BASE, slab=slab, qkv_bias=False), slab


def pretraining_file(path):
    """As published: a decoder beside the encoder, and the script's arguments."""
    state, slab = encoder_weights()
    state |= norm_state('norm', 768, slab)
    stored = {f'encoder.{name}': value for name, value in state.items()}
    stored |= {'decoder.blocks.0.attn.qkv.weight': slab.take(1152, 384)}
    stored |= {'encoder_to_decoder.weight': slab.take(384, 768), 'mask_token': slab.take(1, 1, 384)}
    torch.save(dict(model=stored, args=argparse.Namespace(epochs=1600), epoch=1599), path)
    return state


def finetuned_file(path):
    state, slab = encoder_weights()
    head = norm_state('fc_norm', 768, slab) | {'head.weight': slab.take(400, 768)}
    torch.save(dict(module=state | head), path)
    return state


def reference(state, clip):
    frames, height, width = clip.shape[2] // 2, clip.shape[3] // 16, clip.shape[4] // 16
    table = counting_sinusoids(frames * 14 * 14, 768)
    if (height, width) != (14, 14):
        planes = table.view(frames, 14, 14, 768).permute(0, 3, 1, 2)
        planes = interpolate(planes, size=(height, width), mode='bicubic', align_corners=False)
        table = planes.permute(0, 2, 3, 1).reshape(1, -1, 768)
    tokens = run_blocks(state, embed(state, imagenet_pixels(clip)) + table, HEADS)
    return norm(state, 'norm', tokens) if 'norm.weight' in state else tokens


@pytest.fixture(scope='module')
def clip():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, CLIP_FRAMES, 48, 48, generator=generator) * 2 - 1


@pytest.mark.parametrize('make', [pretraining_file, finetuned_file])
def test_the_original_layouts(tmp_path, clip, make):
    state = make(tmp_path / 'original.pth')
    converted = from_videomae(tmp_path / 'original.pth')
    with torch.no_grad():
        tokens = converted.build().encode_layers(clip)[-1]
        expected = reference(state, clip)
    assert tokens.shape == (1, CLIP_FRAMES // 2, 9, 768)
    torch.testing.assert_close(tokens.flatten(1, 2), expected, atol=1e-4, rtol=1e-4)
    assert not any(name.startswith('blocks') for name in converted.dropped)


def test_the_native_size_takes_the_positions_as_they_are(tmp_path):
    state = pretraining_file(tmp_path / 'original.pth')
    clip = torch.rand(1, 3, 2, 224, 224) * 2 - 1
    with torch.no_grad():
        tokens = from_videomae(tmp_path / 'original.pth').build().encode_layers(clip)[-1]
        torch.testing.assert_close(tokens[0], reference(state, clip), atol=1e-4, rtol=1e-4)


def test_the_layout_of_mmaction2_against_its_own_class(tmp_path):
    settings = dict(embed_dims=768, depth=12, num_heads=12, num_frames=CLIP_FRAMES, img_size=48)
    theirs = MMACTION.build(dict(type='VisionTransformer', return_feat_map=True, **settings)).eval()
    slab = Slab(2)
    for parameter in theirs.parameters():
        parameter.data = slab.take(*parameter.shape).clone() + (parameter.dim() == 1) * 0.5
    stored = {f'backbone.{name}': value for name, value in theirs.state_dict().items()}
    stored |= {'cls_head.fc_cls.weight': slab.take(400, 768)}
    torch.save(dict(state_dict=stored, meta=dict(epoch=1)), tmp_path / 'mmaction.pth')
    converted = from_videomae(tmp_path / 'mmaction.pth')
    assert 'pos_embed' in converted.dropped
    # The class counts positions on the grid it was made with; so does ours, told the same size.
    converted.backbone.update(pretrain_size=48, pretrain_frames=CLIP_FRAMES)
    clip = torch.rand(1, 3, CLIP_FRAMES, 48, 48) * 2 - 1
    with torch.no_grad():
        ours = converted.build()(clip)
        torch.testing.assert_close(ours, theirs(imagenet_pixels(clip)), atol=1e-4, rtol=1e-4)


def test_videomae_v2_giant_is_known_by_its_shapes(tmp_path):
    slab = Slab()
    state = vit_state(1408, 2, 6144, (3, 2, 14, 14), slab, qkv_bias=False)
    torch.save(dict(model=state | norm_state('norm', 1408, slab)), tmp_path / 'giant.pth')
    converted = from_videomae(tmp_path / 'giant.pth')
    assert converted.backbone['arch'] == dict(
        embed_dims=1408, depth=2, num_heads=16, mlp_ratio=6144 / 1408
    )
    assert (converted.backbone['patch_size'], converted.backbone['pretrain_size']) == (14, 224)
    converted.check()


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (
            lambda s: s.update({'blocks.3.mlp.fc1.weight': torch.zeros(5, 768)}),
            r'blocks.3.mlp.fc1.weight: \(5, 768\) in the file, \(3072, 768\) expected',
        ),
        (lambda s: s.pop('blocks.7.attn.v_bias'), r'missing \(1\): blocks.7.attn.qkv.bias \(2304,'),
        (lambda s: s.update(cls_token=torch.zeros(1)), r'unexpected \(1\): cls_token \(1,\)'),
        (lambda s: s.pop('patch_embed.proj.weight'), r'no tensor patch_embed.proj.weight'),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, spoil, message):
    state, _ = encoder_weights()
    spoil(state)
    torch.save(dict(module=state), tmp_path / 'spoilt.pth')
    with pytest.raises(ValueError, match=message):
        from_videomae(tmp_path / 'spoilt.pth').check()


def test_an_unknown_width_asks_for_the_heads(tmp_path):
    state = vit_state(64, 1, 128, (3, 2, 16, 16), Slab(), qkv_bias=False)
    torch.save(dict(model=state), tmp_path / 'small.pth')
    with pytest.raises(ValueError, match=r'width 64 .*--heads'):
        from_videomae(tmp_path / 'small.pth')
    assert from_videomae(tmp_path / 'small.pth', heads=4).backbone['arch']['num_heads'] == 4


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
        short = torch.rand(1, 3, 4, 224, 224) * 2 - 1  # fewer frames: the first positions
        x = embed(state, imagenet_pixels(short)) + table[:, : 2 * 196]
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


NAME = 'vit_base_patch16_clip_224.openai'


@pytest.fixture(scope='module')
def released(tmp_path_factory):
    """A full-size CLIP image encoder with its classifier, in a file as timm's releases."""
    torch.manual_seed(0)
    model = timm.create_model(NAME.split('.')[0], pretrained=False, num_classes=512).eval()
    path = tmp_path_factory.mktemp('timm') / 'model.safetensors'
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return model, path


def test_tokens_are_those_of_timm_frame_by_frame(released):
    model, path = released
    converted = from_timm(path, NAME)
    assert set(converted.dropped) == {'head.weight', 'head.bias'}
    clip = torch.rand(1, 3, 2, 224, 224) * 2 - 1
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        tokens = converted.build().encode_layers(clip)[-1]
        assert tokens.shape == (1, 2, 196, 768)
        for frame in range(2):
            pixels = ((clip[:, :, frame] + 1) / 2 - mean) / std
            expected = model.forward_features(pixels)[:, 1:]  # without the class token
            torch.testing.assert_close(tokens[:, frame], expected, atol=1e-4, rtol=1e-4)


def test_the_wrong_model_is_named_with_both_shapes(released):
    with pytest.raises(ValueError, match=r'pos_embed: \(1, 197, 768\) in the file.* expected'):
        from_timm(released[1], 'vit_small_patch16_224').check()


@pytest.mark.parametrize(('name', 'message'), [(None, 'needs --model'), ('vit_none', 'unknown')])
def test_the_model_must_be_given_and_known(released, name, message):
    with pytest.raises(ValueError, match=message):
        from_timm(released[1], name)
