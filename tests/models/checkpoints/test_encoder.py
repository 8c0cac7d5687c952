import json
import os

import pytest
import torch
from probing import build_probe
from safetensors.torch import save_file
from tiny import CONFIG, build, clips

from nextvid_mm.models.checkpoints import EXPORT_KEY, essential_config, read_checkpoint
from nextvid_mm.registry import MODELS


@pytest.fixture
def checkpoint(tmp_path):
    """A pretraining checkpoint whose reference encoder has left the encoder behind."""
    model = build()
    with torch.no_grad():
        for p in model.reference.parameters():
            p.add_(0.01)
    path = tmp_path / 'iter_5.pth'
    meta = dict(iter=5, cfg=f'model = {CONFIG!r}')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return model, str(path)


def test_the_reference_encoder_is_the_default_and_the_encoder_a_choice(checkpoint):
    model, path = checkpoint
    video = clips()
    reference = build_probe(encoder=path, backbone=None)
    encoder = build_probe(encoder=path, backbone=None, encoder_weights='encoder')
    expected = model.reference.encoder.encode(video).flatten(1, 2)
    torch.testing.assert_close(reference.encode(video), expected)
    torch.testing.assert_close(encoder.encode(video), model.backbone.encode(video).flatten(1, 2))
    assert reference.origin.step == 5
    assert reference.origin.sha256 != encoder.origin.sha256


def test_another_architecture_is_an_error_that_shows_both(checkpoint):
    other = dict(CONFIG['backbone'], arch=dict(CONFIG['backbone']['arch'], depth=1))
    with pytest.raises(ValueError, match=r"(?s)differ in arch.*'depth': 1.*'depth': 2"):
        build_probe(encoder=checkpoint[1], backbone=other)


def test_a_file_without_encoder_says_what_it_holds(tmp_path):
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict={'cls_head.weight': torch.zeros(1)}), path)
    with pytest.raises(ValueError, match=r'holds no weights under.*cls_head'):
        build_probe(encoder=str(path))


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match='absent.pth'):
        build_probe(encoder='absent.pth')


def test_an_exported_encoder_is_read_like_a_checkpoint(tmp_path):
    encoder = MODELS.build(dict(CONFIG['backbone']))
    encoder.init_weights()
    path = str(tmp_path / 'encoder.safetensors')
    metadata = {EXPORT_KEY: json.dumps(dict(backbone=CONFIG['backbone'], step=7))}
    save_file(encoder.state_dict(), path, metadata=metadata)
    probe = build_probe(encoder=path, backbone=None, encoder_weights='encoder')
    video = clips()
    torch.testing.assert_close(probe.encode(video), encoder.encode(video).flatten(1, 2))
    assert probe.origin.step == 7


def test_weights_of_another_size_are_named_with_both_shapes(tmp_path):
    path = str(tmp_path / 'small.pth')
    state = {f'backbone.{k}': v for k, v in MODELS.build(CONFIG['backbone']).state_dict().items()}
    state['backbone.norm.weight'] = torch.ones(5)
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match=r'norm.weight: \(5,\) in the file, \(24,\) expected'):
        build_probe(encoder=path, encoder_weights='encoder')


def test_a_default_left_out_is_the_same_as_one_written_down():
    one = essential_config(dict(type='PerFrameViT', model='vit_tiny_patch16_224'))
    other = essential_config(
        dict(type='PerFrameViT', model='vit_tiny_patch16_224', mean=[0.5] * 3, std=[0.5] * 3)
    )
    assert one == other


def test_a_file_is_read_once_while_it_stays_as_it_is(checkpoint, monkeypatch):
    _, path = checkpoint
    loaded, load = [], torch.load
    monkeypatch.setattr(torch, 'load', lambda *a, **k: loaded.append(a[0]) or load(*a, **k))
    build_probe(encoder=path, backbone=None)
    assert list(map(str, loaded)) == [path]
    read_checkpoint(path)['state_dict'] = None  # the caller's own
    assert read_checkpoint(path)['state_dict'] is not None
    assert list(map(str, loaded)) == [path]
    changed = load(path, weights_only=True)
    changed['meta']['iter'] = 6
    torch.save(changed, path)
    os.utime(path, (1, 1))
    assert read_checkpoint(path)['meta']['iter'] == 6


def test_a_stored_config_names_registered_components_only(checkpoint, tmp_path):
    _, path = checkpoint
    saved, evil = torch.load(path, weights_only=True), tmp_path / 'evil'
    backbone = dict(type='builtins.open', file=str(evil), mode='w')
    saved['meta']['cfg'] = f'model = dict(backbone={backbone!r})'
    torch.save(saved, tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match=r"type='builtins.open' in its config is no registered"):
        build_probe(encoder=str(tmp_path / 'evil.pth'), backbone=None)
    assert not evil.exists()


def test_an_architecture_may_be_named_or_written_out():
    named = dict(type='CausalViT', arch='base')
    written = dict(named, arch=dict(embed_dims=768, depth=12, num_heads=12, mlp_ratio=4.0))
    assert essential_config(named) == essential_config(written)
