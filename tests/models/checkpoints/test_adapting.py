import re

import pytest
import torch
from tiny import CONFIG
from torch import nn

from nextvid_mm.models.backbones import CausalViT
from nextvid_mm.models.checkpoints import EncoderWeights, causal_settings, initializer
from nextvid_mm.models.checkpoints.adapting import resize_patches
from nextvid_mm.registry import MODELS

ARCH = dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0)


def save(path, **settings):
    """A converted encoder's file, and the encoder."""
    config = dict(type='JointViT', arch=ARCH, patch_size=4, pretrain_size=16) | settings
    torch.manual_seed(0)
    encoder = MODELS.build(config)
    encoder.init_weights()
    nn.init.normal_(encoder.patch_embed.bias)
    state = {f'backbone.{name}': value for name, value in encoder.state_dict().items()}
    torch.save(dict(state_dict=state, meta=dict(cfg=f'model = dict(backbone={config!r})')), path)
    return str(path), encoder.eval()


def start(path, **settings):
    encoder = CausalViT(ARCH, **dict(img_size=16, patch_size=4) | settings)
    EncoderWeights(path, adapt=True)(encoder)
    return encoder.eval()


def test_without_causal_attention_the_features_are_the_published_ones(tmp_path):
    path, theirs = save(tmp_path / 'vjepa2.pth', positions='tiled_rope')
    ours = start(path, causal=False, tiled_rope=True)
    clip = torch.rand(2, 3, 8, 16, 16) * 2 - 1
    torch.testing.assert_close(ours.encode(clip), theirs.encode(clip), rtol=1e-4, atol=1e-5)


def test_what_is_new_to_the_weights_is_said(tmp_path, monkeypatch):
    path, _ = save(tmp_path / 'videomae.pth', positions='sinusoid', final_norm=False)
    lines = []
    monkeypatch.setattr(initializer, 'print_log', lambda text, *_, **__: lines.append(text))
    encoder = start(path, patch_size=8)
    said = '\n'.join(lines)
    for words in (
        'causal attention is new to these weights',
        r'sinusoid, added to the tokens\) are left out',
        'no norm after the last block',
        'patches of 2 frames x 4 px are resampled to 2 x 8 px',
    ):
        assert re.search(words, said), words
    assert encoder.encode(torch.zeros(1, 3, 8, 16, 16)).shape == (1, 4, 4, 24)


def test_attention_that_is_no_longer_causal_is_said(tmp_path, monkeypatch):
    path, _ = save(tmp_path / 'vjepa2.pth', positions='tiled_rope')
    start(path, tiled_rope=True).save_pretrained(tmp_path / 'ours')
    lines = []
    monkeypatch.setattr(initializer, 'print_log', lambda text, *_, **__: lines.append(text))
    start(str(tmp_path / 'ours'), tiled_rope=True)
    assert len(lines) == 1
    start(str(tmp_path / 'ours'), tiled_rope=True, causal=False)
    assert 'later frames are new to these weights' in lines[1]


def test_encoder_and_reference_start_from_the_file(tmp_path):
    path, theirs = save(tmp_path / 'vjepa2.pth', positions='tiled_rope')
    init = dict(type='nextvid_mm.EncoderWeights', checkpoint=path, adapt=True)
    backbone = CONFIG['backbone'] | dict(tiled_rope=True, init_cfg=init)
    model = MODELS.build(CONFIG | dict(backbone=backbone))
    model.init_weights()
    for encoder in (model.backbone, model.reference.encoder):
        assert torch.equal(encoder.blocks[1].mlp.fc1.weight, theirs.blocks[1].mlp.fc1.weight)


def test_a_resized_patch_keeps_its_embedding():
    kernel = torch.randn(5, 3, 2, 4, 4)
    patch = torch.ones(3, 2, 4, 4)
    larger = resize_patches(kernel, 8, 4)
    assert larger.shape == (5, 3, 4, 8, 8)
    torch.testing.assert_close(larger.flatten(1).sum(1), (kernel * patch).flatten(1).sum(1))
    assert torch.equal(resize_patches(kernel, 4, 2), kernel)


def test_other_blocks_are_refused_with_both_values(tmp_path):
    path, _ = save(tmp_path / 'vjepa2.pth', positions='tiled_rope')
    with pytest.raises(ValueError, match=r'vjepa2.pth has other blocks.*tiled_rope: False in mode'):
        start(path)
    assert causal_settings(dict(type='JointViT', arch=ARCH), path)['tiled_rope'] is False
    with pytest.raises(ValueError, match='for a CausalViT, not a JointViT'):
        EncoderWeights(path, adapt=True)(save(tmp_path / 'other.pth')[1])
    with pytest.raises(ValueError, match='is a PerFrameViT: only a CausalViT or a JointViT'):
        causal_settings(dict(type='PerFrameViT', model='x'), path)
    torch.save(dict(state_dict={'backbone.w': torch.zeros(1)}), tmp_path / 'bare.pth')
    with pytest.raises(ValueError, match='does not say what its encoder is'):
        start(str(tmp_path / 'bare.pth'))
