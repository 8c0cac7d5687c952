import pytest
import torch
from probing import build_probe

from nextvid_mm.interop.converted import (
    Converted,
    flatten_patch_embed,
    infer_arch,
    split_off,
)
from nextvid_mm.registry import MODELS

ARCH = dict(embed_dims=24, depth=2, num_heads=2, mlp_ratio=2.0)
BACKBONE = dict(type='JointViT', arch=ARCH, pretrain_size=16, patch_size=8)


def converted(**changes):
    encoder = MODELS.build(dict(BACKBONE))
    encoder.init_weights()
    return Converted(dict(BACKBONE), encoder.state_dict() | changes, (), 'a test'), encoder


def test_a_probe_reads_the_saved_file_as_one_of_ours(tmp_path):
    made, encoder = converted()
    path = str(tmp_path / 'converted.pth')
    made.save(path)
    probe = build_probe(backbone=None, encoder=path, encoder_weights='encoder')
    clip = torch.rand(1, 3, 4, 16, 16) * 2 - 1
    torch.testing.assert_close(probe.encode(clip), encoder.encode_layers(clip)[-1].flatten(1, 2))
    assert probe.origin.weights == 'encoder'
    with pytest.raises(ValueError, match=r"set model.encoder_weights='encoder'"):
        build_probe(backbone=None, encoder=path)
    with pytest.raises(ValueError, match='differ in positions'):
        build_probe(
            backbone=dict(BACKBONE, positions='rope'), encoder=path, encoder_weights='encoder'
        )


def test_nothing_is_written_that_does_not_fit(tmp_path):
    made, _ = converted(extra=torch.zeros(1))
    for action in (made.check, made.build, lambda: made.save(tmp_path / 'file.pth')):
        with pytest.raises(ValueError, match=r'a test: the weights do not fit\s+unexpected \(1\)'):
            action()
    assert not list(tmp_path.iterdir())


def test_shapes_tell_the_architecture_and_the_width_the_heads():
    state = {f'blocks.{n}.mlp.fc1.weight': torch.zeros(36, 24) for n in (0, 1, 11)}
    arch = infer_arch(state, {24: 3}, 'file', None)
    assert arch == dict(embed_dims=24, depth=12, num_heads=3, mlp_ratio=1.5)
    assert infer_arch(state | {'blocks.rest': 0}, {}, 'file', 2)['num_heads'] == 2
    for heads in (0, -3):
        with pytest.raises(ValueError, match=f'--heads={heads} must be a whole number'):
            infer_arch(state, {24: 3}, 'file', heads)
    with pytest.raises(ValueError, match=r'width 24 \(known: 8, 16\)'):
        infer_arch(state, {8: 1, 16: 2}, 'file', None)


def test_a_convolution_becomes_the_same_linear_layer():
    kernel = torch.randn(5, 3, 2, 4, 4)
    state, patch, tubelet = flatten_patch_embed({'patch_embed.proj.weight': kernel})
    assert (patch, tubelet, list(state)) == (4, 2, ['patch_embed.weight'])
    cube = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(
        state['patch_embed.weight'] @ cube.flatten(), torch.einsum('octhw,cthw->o', kernel, cube)
    )
    with pytest.raises(ValueError, match='--from timm'):
        flatten_patch_embed({'patch_embed.proj.weight': kernel[:, :, 0]})


def test_parts_are_split_by_prefix():
    kept, dropped = split_off(dict(a=1, head=2, headless=3), ('head',))
    assert (kept, dropped) == (dict(a=1), ('head', 'headless'))
