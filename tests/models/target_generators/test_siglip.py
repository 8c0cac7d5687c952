"""SigLIP 2 targets against the encoder written out, through a folder as it is published."""

import json
import sys

import pytest
import torch
from safetensors.torch import save_file
from siglip import features, random_weights

from nextvid_mm.layers import TokenGrid
from nextvid_mm.registry import MODELS

SMALL = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
             image_size=16, patch_size=4)  # fmt: skip


def publish(folder, settings):
    """Write config.json and model.safetensors with random weights; return the weights."""
    folder.mkdir()
    state = random_weights(
        settings['hidden_size'], settings['num_hidden_layers'], settings['intermediate_size'],
        settings['patch_size'], settings['image_size'] // settings['patch_size'],
    )  # fmt: skip
    save_file(state, folder / 'model.safetensors')
    described = dict(model_type='siglip', text_config={}, vision_config=settings)
    (folder / 'config.json').write_text(json.dumps(described))
    return state


@pytest.fixture
def folder(tmp_path):
    publish(tmp_path / 'siglip2', SMALL)
    return tmp_path / 'siglip2'


def make(folder, **changes):
    settings = (
        dict(type='SigLIP2Target', checkpoint=str(folder), patch_size=4, dtype=None) | changes
    )
    target = MODELS.build(settings)
    target.init_weights()
    return target


@torch.no_grad()
def test_the_base_size_equals_the_definition(tmp_path):
    """siglip2-base-patch16-256: 12 layers of width 768."""
    base = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12,
                intermediate_size=3072, image_size=256, patch_size=16)  # fmt: skip
    state = publish(tmp_path / 'base', base)
    target = make(tmp_path / 'base', patch_size=16)
    frames = torch.rand(1, 3, 256, 256) * 2 - 1
    tokens = target.encode_frames(frames)
    expected = features(state, frames, patch=16, heads=12)
    assert tokens.shape == (1, 256, 768)
    assert target.channels == 1536
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_two_frames_are_stacked_on_channels(folder):
    state = random_weights(16, 2, 24, 4, 4)
    clip = torch.rand(2, 3, 6, 16, 16) * 2 - 1
    tokens = make(folder)(clip)
    assert tokens.shape == (2, 2, 16, 32)
    expected = features(state, clip[:, :, 5], patch=4, heads=2)
    torch.testing.assert_close(tokens[:, 1, :, 16:], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_another_patch_gives_our_grid(folder):
    state, target = random_weights(16, 2, 24, 4, 4), make(folder, patch_size=8)
    clip = torch.ones(1, 3, 4, 32, 32) * 0.5
    tokens = target(clip)
    assert tokens.shape == (1, 1, 16, 32)
    expected = features(state, clip[:, :, 2, :16, :16], patch=4, heads=2)
    torch.testing.assert_close(tokens[:, 0, :, :16], expected, atol=1e-4, rtol=1e-4)


def test_other_sizes_than_the_native_one_are_accepted(folder):
    assert make(folder)(torch.rand(1, 3, 4, 24, 32)).shape == (1, 1, 48, 32)


def test_normalising_is_undone(folder):
    mean, std = torch.arange(16.0).tolist(), (1 + torch.arange(16.0)).tolist()
    target, plain = make(folder, mean=mean, std=std), make(folder)
    clip = torch.rand(1, 3, 4, 16, 16)
    assert not torch.allclose(target(clip), plain(clip))
    torch.testing.assert_close(target.denormalize(target(clip)), plain(clip))


def test_it_is_frozen_and_has_no_pictures(folder):
    target = make(folder).train()
    assert not target.training
    assert not any(p.requires_grad for p in target.parameters())
    with pytest.raises(ValueError, match='SigLIP2Target cannot be turned back into pixels'):
        target.to_pixels(target(torch.rand(1, 3, 4, 16, 16)), TokenGrid(1, 4, 4))


def test_a_folder_written_by_transformers_is_read(tmp_path):
    from transformers import SiglipConfig, SiglipModel

    text = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                vocab_size=8, max_position_embeddings=4)  # fmt: skip
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=SMALL)).eval()
    model.save_pretrained(tmp_path / 'whole')
    frames = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = model.vision_model(frames).last_hidden_state
        torch.testing.assert_close(make(tmp_path / 'whole').encode_frames(frames), expected)


def test_without_transformers_the_install_line_is_given(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r"pip install -c constraints.txt 'nextvid_mm\[siglip\]'"):
        make(folder)


def test_a_folder_of_another_size_or_kind_is_refused(folder):
    with pytest.raises(ValueError, match=r'other shape .*: .*patch_embedding.weight: '
                       r'\(16, 3, 4, 4\) in the file, \(16, 3, 8, 8\) expected'):  # fmt: skip
        make(folder, architecture=SMALL | dict(patch_size=8))
    (folder / 'config.json').write_text(json.dumps(dict(model_type='siglip2')))
    with pytest.raises(ValueError, match="has model_type='siglip2'; SigLIP2Target reads 'siglip'"):
        make(folder)
