"""The commands and Python of docs/features.md run, with small files in place of large ones."""

import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from exporting import save_checkpoint
from mmcv import imwrite
from mmengine.config import Config
from mmengine.registry import DefaultScope
from published import Slab, norm_state, vit_state
from safetensors.torch import save_file

from nextvid_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/features.md').read_text(encoding='utf-8')
TIMM = 'vit_base_patch16_clip_224'


def blocks(language):
    return re.findall(rf'```{language}\n(.*?)```', PAGE, re.DOTALL)


def commands():
    text = '\n'.join(blocks('bash')).replace('\\\n', ' ')
    lines = [shlex.split(line)[1:] for line in text.splitlines() if line]
    # Probing takes datasets; what it does with such a file is tested below.
    return [words for words in lines if words[0] != 'tools/test.py']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the page's commands read, small; each is of the published layout."""
    root = tmp_path_factory.mktemp('page')
    backbone = dict(type='CausalViT', arch='tiny', img_size=64, patch_size=16)
    for name in ('demo/seed_0/iter_1500.pth', 'vit-l_4stage/iter_132000.pth'):
        path = root / 'work_dirs' / name
        path.parent.mkdir(parents=True)
        save_checkpoint(path, backbone)
    images = root / 'data/demo/videos_val'
    imwrite(np.zeros((64, 80, 3), np.uint8), str(images / 'image.png'))
    slab = Slab(size=1 << 23)
    state = vit_state(384, 1, 768, (3, 2, 16, 16), slab) | norm_state('norm', 384, slab)
    torch.save(dict(target_encoder=state), root / 'vitl.pt')
    state = vit_state(384, 1, 768, (3, 2, 16, 16), slab, qkv_bias=False)
    torch.save(dict(module=state), root / 'checkpoint.pth')
    with torch.device('meta'):
        shapes = {name: value.shape for name, value in timm.create_model(TIMM).state_dict().items()}
    weights = {name: slab.take(*shape).clone() for name, shape in shapes.items()}
    save_file(weights, root / 'model.safetensors')
    return root


def test_commands_and_python(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for words in commands():
        monkeypatch.setattr(sys, 'argv', words)
        runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    written = sorted(os.listdir('checkpoints'))
    assert written == [
        'clip-b.pth',
        'nextvid-l.md',
        'nextvid-l.safetensors',
        'videomae.pth',
        'vjepa2-l.pth',
    ]
    reading, exported = blocks('python')
    image = 'data/demo/videos_val/image.png'
    names = {}
    exec(reading.replace('video.mp4', image), names)
    assert names['item'].features.shape == (8, 16, 128)
    assert f'{image} torch.Size([8, 128])' in capsys.readouterr().out
    clip = torch.rand(1, 3, 4, 64, 64)
    names = dict(clip=clip)
    exec(exported.replace('vit_large_patch16_256', 'vit_tiny_patch16_64'), names)
    assert names['tokens'].shape == (1, 32, 128)
    assert names['pooled'].shape == (1, 128)
    assert names['classifier'](clip).shape == (1, 174)


@pytest.mark.parametrize('name', ['videomae.pth', 'vjepa2-l.pth', 'clip-b.pth'])
def test_a_probe_config_takes_each_of_the_files(folder, monkeypatch, name):
    monkeypatch.chdir(folder)
    model = Config.fromfile(ROOT / 'configs/probe/others/ssv2_224.py').model
    model.update(encoder=f'checkpoints/{name}', num_segments=1, dtype=None)
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        probe = MODELS.build(model)
    probe.init_weights()
    assert probe.origin.weights == 'encoder'
    clips = torch.rand(1, 1, 3, 2, 64, 64)
    (tokens,) = probe.views(clips)
    assert probe.cls_head(tokens).shape[-1] == 174
