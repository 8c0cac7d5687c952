"""Image encoders of timm, and files that it does not write, against timm and definitions."""

import json
import re

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from nextvid_mm.interop.image_encoders import from_dinov2, from_dinov3, from_timm
from nextvid_mm.models.backbones.per_frame_vit import PerFrameViT

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
        from_timm(released[1], 'vit_small_patch16_224.dino').check()


@pytest.mark.parametrize(('name', 'message'), [(None, 'needs --model'), ('vit_none', 'unknown')])
def test_the_model_must_be_given_and_known(released, name, message):
    with pytest.raises(ValueError, match=message):
        from_timm(released[1], name)


def imagenet(clip):
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return ((clip + 1) / 2 - mean) / std


def randomise(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return model.eval()


DINO = [
    (r'embeddings\.patch_embeddings\.(projection\.)?', 'patch_embed.proj.'),
    (r'embeddings\.position_embeddings', 'pos_embed'),
    (r'embeddings\.', ''),
    (r'(encoder|model)\.layer\.', 'blocks.'),
    (r'attention\.o_proj\.', 'attn.proj.'),
    (r'layer_scale(\d)\.lambda1', r'ls\1.gamma'),
    (r'mlp\.up_proj', 'mlp.fc1'),
    (r'mlp\.down_proj', 'mlp.fc2'),
    (r'^layernorm\.', 'norm.'),
]


def original(model, registers):
    """Names of the original code out of those of transformers."""
    state = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in [*DINO, ('register_tokens', registers)]:
            name = re.sub(pattern, replacement, name)
        state[name] = value
    for n in range(12):
        parts = [state.pop(f'blocks.{n}.attention.{p}_proj.weight') for p in 'qkv']
        biases = [state.pop(f'blocks.{n}.attention.{p}_proj.bias', torch.zeros(384)) for p in 'qkv']
        state[f'blocks.{n}.attn.qkv.weight'] = torch.cat(parts)
        state[f'blocks.{n}.attn.qkv.bias'] = torch.cat(biases)
    return state


SMALL = dict(hidden_size=384, num_hidden_layers=12, num_attention_heads=6)


def test_dinov2_with_registers_against_transformers(tmp_path):
    config = Dinov2WithRegistersConfig(**SMALL, image_size=518, patch_size=14)
    model = randomise(Dinov2WithRegistersModel(config))
    state = original(model, 'register_tokens')
    torch.save(state, tmp_path / 'dinov2_vits14_reg4_pretrain.pth')
    converted = from_dinov2(tmp_path / 'dinov2_vits14_reg4_pretrain.pth')
    assert converted.backbone['model'] == 'vit_small_patch14_reg4_dinov2'
    assert converted.dropped == ('mask_token',)
    clip = torch.rand(1, 3, 1, 518, 518) * 2 - 1
    with torch.no_grad():
        found = converted.build().encode_layers(clip)[-1][0]
        expected = model(imagenet(clip[:, :, 0])).last_hidden_state[:, 5:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    # A checkpoint of training: the teacher under a key, with heads, blocks in chunks.
    teacher = {re.sub(r'^blocks', 'blocks.0', f'backbone.{n}'): v for n, v in state.items()}
    teacher = {n.replace('backbone.blocks', 'backbone.blocks.0'): v for n, v in teacher.items()}
    teacher['dino_head.mlp.0.weight'] = torch.zeros(3)
    torch.save(dict(teacher=teacher, student={}), tmp_path / 'training.pth')
    again = from_dinov2(tmp_path / 'training.pth')
    assert all(torch.equal(again.state[name], value) for name, value in converted.state.items())
    assert again.note == 'teacher (averaged weights); the file also holds student'


def test_dinov3_against_transformers(tmp_path):
    config = DINOv3ViTConfig(**SMALL, intermediate_size=1536, num_register_tokens=4)
    state = original(model := randomise(DINOv3ViTModel(config)), 'storage_tokens')
    state['rope_embed.periods'] = torch.ones(16)
    state |= {f'blocks.{n}.attn.qkv.bias_mask': torch.ones(1152) for n in range(12)}
    torch.save(state, tmp_path / 'dinov3_vits16.pth')
    converted = from_dinov3(tmp_path / 'dinov3_vits16.pth')
    assert converted.backbone['model'] == 'vit_small_patch16_dinov3_qkvb'
    clip = torch.rand(1, 3, 1, 48, 64) * 2 - 1
    with torch.no_grad():
        found = converted.build().encode_layers(clip)[-1][0]
        expected = model(imagenet(clip[:, :, 0])).last_hidden_state[:, 5:]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(('size', 'patch'), [(224, 14), (512, 16)])
def test_dinov2_of_another_size_is_not_stretched(tmp_path, size, patch):
    count = (size // patch) ** 2 + 1
    state = dict(mask_token=torch.zeros(1, 384), cls_token=torch.zeros(1, 1, 384))
    state['pos_embed'] = torch.zeros(1, count, 384)
    state['patch_embed.proj.weight'] = torch.zeros(384, 3, patch, patch)
    torch.save(state, tmp_path / 'own.pth')
    message = rf'pos_embed: \(1, {count}, 384\) in the file, \(1, 1370, 384\) expected'
    if patch == 16:
        message += r'; vit.patch_embed.proj.weight: \(384, 3, 16, 16\) in the file'
    with pytest.raises(ValueError, match=message):
        from_dinov2(tmp_path / 'own.pth').check()


def test_a_width_that_was_never_published(tmp_path):
    torch.save(dict(cls_token=torch.zeros(1, 1, 40)), tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=r'no published model has the width 40 \(known: 384, 768'):
        from_dinov2(tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match='no tensor storage_tokens'):
        from_dinov3(tmp_path / 'odd.pth')


def tiny(path, **changes):
    """A file of ``vit_tiny_patch16_224``."""
    with torch.device('meta'):
        shapes = timm.create_model('vit_tiny_patch16_224', num_classes=0).state_dict()
    save_file({n: torch.zeros(v.shape) for n, v in shapes.items()} | changes, path)
    return path


def test_tags_that_differ_in_colours_must_be_said(tmp_path):
    path = tiny(tmp_path / 'model.safetensors')
    with pytest.raises(
        ValueError, match=r'vit_small_patch16_224: weights .* differ in the colours'
    ):
        from_timm(path, 'vit_small_patch16_224')
    with pytest.raises(ValueError, match=r'bogus: timm knows the weights vit_small_patch16_224.a'):
        from_timm(path, 'vit_small_patch16_224.bogus')
    assert from_timm(path, 'vit_tiny_patch16_224').backbone['mean'] == [0.5, 0.5, 0.5]
    names = ['vit_tiny_patch16_224.augreg_in21k']
    for prefix in ('timm/', 'hf-hub:timm/'):
        assert from_timm(path, prefix + names[0]).backbone['model'] == 'vit_tiny_patch16_224'
        assert PerFrameViT(prefix + names[0]).embed_dims == 192


def test_a_folder_of_the_hub_says_its_name_and_colours(tmp_path):
    tiny(tmp_path / 'model.safetensors')
    colours = dict(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])
    settings = dict(architecture='vit_tiny_patch16_224', pretrained_cfg=colours)
    (tmp_path / 'config.json').write_text(json.dumps(settings))
    backbone = from_timm(tmp_path).backbone
    assert (backbone['mean'], backbone['std']) == (colours['mean'], colours['std'])
    assert from_timm(tmp_path / 'model.safetensors').backbone == backbone
    settings['pretrained_cfg'] = dict(mean='dark')
    (tmp_path / 'config.json').write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=r"config.json: mean='dark' is not three numbers"):
        from_timm(tmp_path)
    (tmp_path / 'config.json').write_text(json.dumps(dict(architecture='vit_none')))
    with pytest.raises(ValueError, match='--model vit_none is unknown to timm'):
        from_timm(tmp_path)


@pytest.mark.parametrize(
    ('name', 'size', 'patches'),
    [
        ('vit_tiny_r_s16_p8_224', 64, 4),  # a hybrid: the stem shrinks as well
        ('beit_base_patch16_224', 224, 196),  # without dynamic_img_size
    ],
)
def test_hybrids_and_models_of_one_size(name, size, patches):
    with torch.no_grad():
        encoder = PerFrameViT(name).eval()
        clip = torch.rand(1, 3, 1, size, size)
        tokens = encoder.encode_layers(clip)[-1]
    assert tokens.shape[1:3] == (1, patches)
    assert encoder.grid_of(clip).patches == patches
