"""Folders of the Hub: an encoder and a whole model go out and come back."""

import json
import os

import pytest
import torch
from checkpoints import save_pretrained
from exporting import save_checkpoint
from mmengine.runner import CheckpointLoader
from tiny import CONFIG, build

import nextvid_mm.engine.hooks  # noqa: F401  (lets MMEngine load exported files)
from nextvid_mm.interop import export_encoder
from nextvid_mm.layers import has_lora
from nextvid_mm.models.algorithms import NextVid
from nextvid_mm.models.backbones import CausalViT, ClipEncoder, JointViT
from nextvid_mm.models.checkpoints import (
    EncoderWeights,
    load_generator,
    open_encoder,
    read_checkpoint,
)

ARCH = dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0)


@pytest.fixture
def encoder():
    encoder = CausalViT(ARCH, img_size=32, patch_size=8).eval()
    encoder.init_weights()
    return encoder


def test_an_encoder_comes_back(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / 'a')
    assert sorted(os.listdir(tmp_path / 'a')) == ['README.md', 'config.json', 'model.safetensors']
    clip = torch.rand(1, 3, 4, 32, 32)
    for kind in (CausalViT, ClipEncoder):
        again = kind.from_pretrained(tmp_path / 'a')
        assert torch.equal(again(clip), encoder(clip))
    assert CausalViT.from_pretrained(tmp_path / 'a', output='maps').output == 'maps'
    assert open_encoder(tmp_path / 'a')[1].weights == 'encoder'
    with pytest.raises(ValueError, match='holds a CausalViT, not a JointViT'):
        JointViT.from_pretrained(tmp_path / 'a')


def test_a_folder_that_is_written_again_is_read_again(encoder, tmp_path):
    for value in (1.0, 2.0, 3.0):
        torch.nn.init.constant_(encoder.norm.bias, value)
        encoder.save_pretrained(tmp_path / 'a')
        again = CausalViT.from_pretrained(tmp_path / 'a')
        assert torch.equal(again.norm.bias, encoder.norm.bias)


def test_a_folder_starts_a_run_again(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / 'a')
    other = CausalViT(ARCH, img_size=32, patch_size=8)
    EncoderWeights(str(tmp_path / 'a'))(other)
    assert torch.equal(other.norm.bias, encoder.norm.bias)
    file = str(tmp_path / 'a' / 'model.safetensors')
    state = CheckpointLoader.load_checkpoint(file)['state_dict']
    assert all(name.startswith('backbone.') for name in state)


def test_a_whole_model_comes_back(tmp_path):
    model = load_generator(save_pretrained(tmp_path / 'iter_7.pth')).model
    model.save_pretrained(tmp_path / 'a')
    again = load_generator(tmp_path / 'a')
    assert (again.num_frames, again.fps) == (12, 8)
    loaded = NextVid.from_pretrained(tmp_path / 'a')
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    state = CheckpointLoader.load_checkpoint(str(tmp_path / 'a' / 'model.safetensors'))
    assert state['state_dict'].keys() == build().state_dict().keys()
    assert CONFIG['type'] in read_checkpoint(tmp_path / 'a')['meta']['cfg']


def test_a_whole_model_takes_no_other_settings(tmp_path):
    build().save_pretrained(tmp_path / 'a')
    assert NextVid.from_pretrained(tmp_path / 'a', queries='hidden').queries == 'hidden'
    with pytest.raises(ValueError, match=r"a whole model, .* leave out \['queries'\]"):
        NextVid.from_pretrained(tmp_path / 'a', queries='all')


def test_an_encoder_comes_back_with_updates_to_train(encoder, tmp_path):
    pytest.importorskip('peft')
    encoder.save_pretrained(tmp_path / 'a')
    again, clip = (
        CausalViT.from_pretrained(tmp_path / 'a', tuned='lora'),
        torch.rand(1, 3, 4, 32, 32),
    )
    assert has_lora(again)
    assert torch.equal(again(clip), encoder(clip))


def test_files_of_somebody_else_stay(encoder, tmp_path):
    folder = tmp_path / 'a'
    folder.mkdir()
    (folder / 'README.md').write_text('mine')
    encoder.save_pretrained(folder)
    encoder.save_pretrained(folder)  # its own files may be written again
    assert (folder / 'README.md').read_text() == 'mine'
    (folder / 'config.json').write_text(json.dumps(dict(mine=1)))
    with pytest.raises(ValueError, match=r'config.json is there and was not written by'):
        encoder.save_pretrained(folder)
    save_checkpoint(tmp_path / 'iter_5.pth')
    output = tmp_path / 'README.safetensors'
    export_encoder(tmp_path / 'iter_5.pth', output)
    export_encoder(tmp_path / 'iter_5.pth', output)
    (tmp_path / 'README.md').write_text('mine')
    with pytest.raises(ValueError, match=r'README.md is there and was not written by'):
        export_encoder(tmp_path / 'iter_5.pth', output)
    assert (tmp_path / 'README.md').read_text() == 'mine'


def test_files_are_as_open_as_the_umask_says(encoder, tmp_path):
    before = os.umask(0o002)
    try:
        encoder.save_pretrained(tmp_path / 'a')
    finally:
        os.umask(before)
    modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / 'a').iterdir()}
    assert set(modes.values()) == {0o664}, modes
