import json

import pytest
import torch
from exporting import save_checkpoint
from probing import build_probe
from safetensors import safe_open
from safetensors.torch import load_file
from tiny import clips

from nextvid_mm.interop import export_encoder


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
    with pytest.raises(ValueError, match='other.pth records no encoder'):
        export_encoder(tmp_path / 'other.pth', tmp_path / 'encoder.safetensors')
    config = dict(type='JointViT', arch={})
    torch.save(other | dict(meta=dict(cfg=f'model = dict(backbone={config})')), tmp_path / 'j.pth')
    with pytest.raises(ValueError, match='j.pth records a JointViT'):
        export_encoder(tmp_path / 'j.pth', tmp_path / 'encoder.safetensors')
