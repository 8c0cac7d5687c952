import json
from pathlib import Path

import pytest
import torch
from exporting import SOURCES, STAGES, save_checkpoint
from huggingface_hub import ModelCard
from probing import build_probe
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import clips

from nextvid_mm.interop.converted import Converted
from nextvid_mm.interop.export import export_encoder, timm_name, write_card
from nextvid_mm.interop.timm_models import MODELS_OF_NAME
from nextvid_mm.models.checkpoints import EncoderOrigin
from nextvid_mm.registry import MODELS


@pytest.mark.parametrize('weights', ['reference', 'encoder'])
def test_the_file_holds_one_encoder_and_says_how_it_is_built(tmp_path, weights):
    model = save_checkpoint(tmp_path / 'iter_5.pth')
    encoder = model.reference.encoder if weights == 'reference' else model.backbone
    path = tmp_path / 'out' / 'encoder.safetensors'
    card = export_encoder(tmp_path / 'iter_5.pth', path, weights)
    assert card.name == 'encoder.md'
    stored = load_file(path)
    assert list(stored) == sorted(encoder.state_dict())
    for name, value in encoder.state_dict().items():
        assert torch.equal(stored[name], value)
    with safe_open(path, framework='pt') as file:
        description = json.loads(file.metadata()['nextvid_mm'])
    assert (description['step'], description['weights']) == (5, weights)
    assert description['sha256'] in card.read_text()


def test_a_probe_reads_it(tmp_path):
    model = save_checkpoint(tmp_path / 'iter_5.pth')
    path = tmp_path / 'encoder.safetensors'
    export_encoder(tmp_path / 'iter_5.pth', path)
    probe = build_probe(encoder=str(path), backbone=None, encoder_weights='encoder')
    video = clips()
    expected = model.reference.encoder.encode(video).flatten(1, 2)
    torch.testing.assert_close(probe.encode(video), expected)


def test_what_cannot_be_exported(tmp_path):
    save_checkpoint(tmp_path / 'iter_5.pth')
    with pytest.raises(ValueError, match='must end in .safetensors, found .*encoder.pth'):
        export_encoder(tmp_path / 'iter_5.pth', tmp_path / 'encoder.pth')
    other = dict(state_dict={'backbone.w': torch.zeros(1)})
    torch.save(other, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='other.pth does not say what its encoder is'):
        export_encoder(tmp_path / 'other.pth', tmp_path / 'encoder.safetensors')
    arch = dict(embed_dims=24, depth=1, num_heads=2, mlp_ratio=2.0)
    backbone = dict(type='JointViT', arch=arch, positions='sinusoid')
    state = MODELS.build(dict(backbone)).state_dict()
    Converted(backbone, state, (), 'test').save(tmp_path / 'j.pth')
    with pytest.raises(ValueError, match='j.pth records a JointViT'):
        export_encoder(tmp_path / 'j.pth', tmp_path / 'encoder.safetensors', 'encoder')


def test_timm_models_are_found_by_their_configuration():
    for name, (_, arch) in MODELS_OF_NAME.items():
        assert timm_name(dict(type='CausalViT', arch=arch)) == name
    assert timm_name(dict(type='CausalViT', arch='giant')) == 'nextvid_vit_giant_patch16_256'
    assert timm_name(dict(type='CausalViT', arch='giant', patch_size=14)) is None
    assert timm_name(dict(type='CausalViT', arch='large', causal=False)) is None


META = dict(
    seed=3,
    mmengine_version='0.10.7',
    stages=STAGES,
    cfg=f'train_dataloader = dict(dataset=dict(sources={SOURCES!r}))',
    data=dict(lengths=[4000, 600]),
)


def card(tmp_path, meta, name='nextvid_vit_large_patch16_256', step=5):
    origin = EncoderOrigin('iter.pth', 'reference', 'abc123', step, dict(type='CausalViT'))
    return write_card(
        Path(tmp_path, 'encoder.safetensors'), origin, meta, name, 1234567
    ).read_text()


def test_it_says_what_was_trained_on_what_for_how_long(tmp_path):
    text = card(tmp_path, META)
    for line in (
        '| parameters | 1,234,567 |',
        '| optimiser steps | 5 |',
        '| SHA-256 of the weights | `abc123` |',
        '| warm-up | 4 | 0.0001 → 0.0005 | – | 4 | 16 | 3,072 | 4 |',
        '| stable | 6 | 0.0005 → 0.0001 | 0.0008 | 1 | 16 | 768 | 1 |',
        '| clips | 0.75 | 4000 | ClipListDataset |',
        '| images | 0.25 | 600 | mmpretrain.ImageNet |',
        '| mmengine (training) | 0.10.7 |',
        "timm.create_model('nextvid_vit_large_patch16_256', checkpoint_path='encoder.safetensors')",
    ):
        assert line in text, line


def test_the_commit_is_told_from_the_version(tmp_path):
    text = card(tmp_path, dict(mmengine_version='0.10.7' + 'a1' * 20))
    assert f'| mmengine (training) | 0.10.7, started in a checkout of {"a1" * 20} |' in text


def test_what_the_checkpoint_does_not_say_is_not_made_up(tmp_path):
    text = card(tmp_path, {}, name=None, step=None)
    assert '| optimiser steps | not recorded in the checkpoint |' in text
    assert 'The stage table is not recorded' in text
    assert 'The data mixture is not recorded' in text
    assert 'create_model' not in text


def test_the_hub_reads_the_head_of_the_card(tmp_path):
    card(tmp_path, META)
    data = ModelCard.load(tmp_path / 'encoder.md').data
    assert (data.library_name, 'video' in data.tags, data.license) == ('timm', True, None)
