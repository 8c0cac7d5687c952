"""The converter's doors: formats, options, the command."""

import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch
from exporting import save_checkpoint
from published import Slab, norm_state, vit_state

from nextvid_mm.interop import convert
from nextvid_mm.interop.converted import Converted
from nextvid_mm.interop.published import _describe
from nextvid_mm.models.checkpoints import read_checkpoint, stored_backbone
from nextvid_mm.registry import MODELS

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


def test_the_file_that_is_read_is_not_replaced(tmp_path, videomae, monkeypatch):
    before = videomae.read_bytes()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match='videomae.pth is what is converted'):
        convert('videomae', 'nextvid', videomae, 'videomae.pth', heads=4)
    assert videomae.read_bytes() == before


def test_the_advice_can_be_pasted(tmp_path, videomae):
    lines = convert('videomae', 'nextvid', videomae, tmp_path / 'an encoder.pth', heads=4)
    assert str(tmp_path / 'an encoder.pth') in shlex.split(lines[-1])


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


@pytest.mark.parametrize(
    ('size', 'patch', 'said'),
    [
        (256, 16, 'configs/probe/ssv2.py'),
        (224, 16, 'configs/probe/others/ssv2_224.py'),
        (518, 14, 'configs/probe/others/ssv2_224.py'),
        (240, 15, 'no probe config fits patches of 15 pixels: inherit one and change it'),
    ],
)
def test_the_advice_fits_size_and_patch(tmp_path, size, patch, said):
    arch = dict(embed_dims=48, depth=1, num_heads=2, mlp_ratio=2.0)
    backbone = dict(type='JointViT', arch=arch, pretrain_size=size, patch_size=patch)
    converted = Converted(backbone, MODELS.build(dict(backbone)).state_dict(), (), 'made here')
    assert said in _describe(converted, tmp_path / 'out.pth')[-1]
