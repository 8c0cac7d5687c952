"""Full-size VideoMAE checkpoints in the published layouts against definitions and MMAction2."""

import argparse

import pytest
import torch
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
)
from safetensors.torch import save_file
from torch.nn.functional import interpolate

from nextvid_mm.interop.videomae import from_videomae

# ViT-B/16 of VideoMAE, and ViT-g/14 of VideoMAEv2 with its depth cut (checked by shapes only).
BASE = dict(width=768, depth=12, hidden=3072, kernel=(3, 2, 16, 16))
CLIP_FRAMES, HEADS = 4, 12


def encoder_weights(depth=12):
    slab = Slab()
    return vit_state(**BASE | dict(depth=depth), slab=slab, qkv_bias=False), slab


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


def opengvlab_folder(path):
    """A folder for transformers with code of its own: every name under ``model.``."""
    state, slab = encoder_weights(depth=2)
    head = norm_state('fc_norm', 768, slab)
    stored = {f'model.{name}': value.clone() for name, value in (state | head).items()}
    path.mkdir()
    save_file(stored, path / 'model.safetensors')
    (path / 'config.json').write_text('{"model_type": "VideoMAEv2_Base"}')
    return state


def without_biases(path):
    """Trained with ``qkv_bias=False`` and with scales of the branches (``init_values``)."""
    state, slab = encoder_weights(depth=2)
    stored = {n: v for n, v in state.items() if not n.endswith(('q_bias', 'v_bias'))}
    state = {n: 0 * v if n.endswith(('q_bias', 'v_bias')) else v for n, v in state.items()}
    for n in range(2):
        for number, layer in ((1, 'attn.proj'), (2, 'mlp.fc2')):
            scale = 0.5 + slab.take(768)
            stored[f'blocks.{n}.gamma_{number}'] = scale
            for kind in ('weight', 'bias'):
                name = f'blocks.{n}.{layer}.{kind}'
                state[name] = state[name] * (scale[:, None] if kind == 'weight' else scale)
    torch.save(dict(module=stored), path)
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


@pytest.mark.parametrize(
    'make', [pretraining_file, finetuned_file, opengvlab_folder, without_biases]
)
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


def test_small_scales_survive_half_precision(tmp_path):
    state = vit_state(64, 1, 128, (3, 2, 16, 16), Slab(), qkv_bias=False)
    state = {name: value.half() for name, value in state.items()}
    scale = torch.full((64,), 1e-5).half()
    torch.save(dict(model=state | {'blocks.0.gamma_2': scale}), tmp_path / 'half.pth')
    folded = from_videomae(tmp_path / 'half.pth', heads=4).build().blocks[0].mlp.fc2.weight
    expected = state['blocks.0.mlp.fc2.weight'].float() * scale.float()[:, None]
    torch.testing.assert_close(folded.detach(), expected, rtol=1e-6, atol=0.0)


def test_an_unknown_width_asks_for_the_heads(tmp_path):
    state = vit_state(64, 1, 128, (3, 2, 16, 16), Slab(), qkv_bias=False)
    torch.save(dict(model=state), tmp_path / 'small.pth')
    with pytest.raises(ValueError, match=r'width 64 .*--heads'):
        from_videomae(tmp_path / 'small.pth')
    assert from_videomae(tmp_path / 'small.pth', heads=4).backbone['arch']['num_heads'] == 4
