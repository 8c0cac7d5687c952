"""The commands and Python of docs/features.md run, with small files in place of large ones."""

import json
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
from clips import write_clip
from exporting import save_checkpoint
from mmcv import imwrite
from mmengine.config import Config
from mmengine.registry import DefaultScope
from published import Slab, norm_state, vit_state
from safetensors.torch import save_file
from transformers import VideoMAEConfig, VideoMAEModel, VJEPA2Config, VJEPA2Model

from nextvid_mm.inferencers import FeatureStore
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
    words = [words for words in lines if words[0] != 'tools/test.py']
    return sorted(words, key=lambda words: 'convert' not in words[0])  # others take what they write


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
    for videos in (root / 'videos', root / 'data/own/videos'):
        videos.mkdir(parents=True)
        for number in range(3):
            write_clip(videos / f'{number}.mp4', 8 + number)
    (root / 'data/own/train.txt').write_text('0.mp4 0\n1.mp4 1\n2.mp4 0\n')
    (root / 'new.mp4').symlink_to(root / 'videos/0.mp4')
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
    reading, adapter, own, exported, folders = blocks('python')
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
    names = dict(clip=clip)
    exec(folders, names)
    assert names['tokens'].shape == (1, 16, 128)
    for name, text in (('my_encoder', adapter), ('my_probe', own)):
        Path(f'{name}.py').write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    words = ['tools/extract_features.py', 'my_probe.py', image, '--out', 'own', '--size', '32']
    monkeypatch.setattr(sys, 'argv', words)
    runpy.run_path(str(ROOT / words[0]), run_name='__main__')
    assert FeatureStore('own')[image].features.shape == (8, 48)


ROWS = [
    [cell.strip().strip('`') for cell in line.strip('|').split('|')]
    for line in PAGE.splitlines()
    if line.startswith('| ') and '`--from ' in line
]


def clip_vit(width=384, depth=1, kernel=(3, 2, 16, 16), **options):
    slab = Slab(size=1 << 22)
    state = vit_state(width, depth, 2 * width, kernel, slab, **options)
    return state | norm_state('norm', width, slab)


def dino(prefix, patch, tokens, **more):
    """A small one, of zeros but for what tells it."""
    state = vit_state(384, 12, 1536, (3, patch, patch), Slab(size=1 << 21))
    for n in range(12):
        state |= {f'blocks.{n}.ls{k}.gamma': torch.ones(384) for k in (1, 2)}
    state |= norm_state('norm', 384, Slab(size=1 << 16)) | more
    return (
        state
        | dict(cls_token=torch.zeros(1, 1, 384), mask_token=torch.zeros(1, 384))
        | {prefix: torch.zeros(1, 4, 384)}
    )


def transformers_folder(path, model):
    model.save_pretrained(path)


def timm_vit(path, folder=False):
    with torch.device('meta'):
        shapes = timm.create_model('vit_tiny_patch16_224', num_classes=0).state_dict()
    state = {name: torch.zeros(value.shape) for name, value in shapes.items()}
    if not folder:
        return save_file(state, path)
    path.mkdir()
    save_file(state, path / 'model.safetensors')
    said = dict(mean=[0.5] * 3, std=[0.5] * 3)
    text = json.dumps(dict(architecture='vit_tiny_patch16_224', pretrained_cfg=said))
    return (path / 'config.json').write_text(text)


def opengvlab(path):
    path.mkdir()
    state = clip_vit(qkv_bias=False)
    save_file({f'model.{n}': v.clone() for n, v in state.items()}, path / 'model.safetensors')


SMALL = dict(hidden_size=48, num_hidden_layers=1, num_attention_heads=4)
MAKERS = {
    'VideoMAE, VideoMAEv2: original': lambda p: torch.save(
        dict(model={f'encoder.{n}': v for n, v in clip_vit(qkv_bias=False).items()}), p
    ),
    'VideoMAE of MMAction2': lambda p: torch.save(
        dict(state_dict={f'backbone.{n}': v for n, v in clip_vit(qkv_bias=False).items()}), p
    ),
    'VideoMAE of transformers': lambda p: transformers_folder(
        p, VideoMAEModel(VideoMAEConfig(**SMALL, intermediate_size=96))
    ),
    'VideoMAEv2 of OpenGVLab': opengvlab,
    'V-JEPA 2, 2.1: original': lambda p: torch.save(dict(target_encoder=clip_vit()), p),
    'V-JEPA 2 of transformers': lambda p: transformers_folder(
        p,
        VJEPA2Model(
            VJEPA2Config(
                **SMALL, mlp_ratio=2.0, pred_hidden_size=24, pred_num_attention_heads=2,
                pred_num_hidden_layers=1,
            )
        ),
    ),
    'V-JEPA: original': lambda p: torch.save(
        dict(target_encoder=clip_vit() | dict(pos_embed=torch.zeros(1, 1568, 384))), p
    ),
    'ViT of timm: a file': timm_vit,
    'ViT of timm: a folder': lambda p: timm_vit(p, folder=True),
    'DINOv2': lambda p: torch.save(
        dino('register_tokens', 14, 4, pos_embed=torch.zeros(1, 1370, 384)), p
    ),
    'DINOv3': lambda p: torch.save(dino('storage_tokens', 16, 4), p),
}  # fmt: skip


@pytest.mark.parametrize('row', ROWS, ids=[row[0][:30] for row in ROWS])
def test_every_row_of_the_table(tmp_path, monkeypatch, capsys, row):
    held, flags, encoder, config = row
    (make,) = [make for name, make in MAKERS.items() if held.startswith(name)]
    source, output = tmp_path / 'held', tmp_path / 'converted.pth'
    make(source)
    monkeypatch.setattr(sys, 'argv', ['x', *shlex.split(flags), str(source), str(output)])
    runpy.run_path(str(ROOT / 'tools/convert_checkpoint.py'), run_name='__main__')
    assert f'configs/probe/{config} ' in capsys.readouterr().out
    model = Config.fromfile(ROOT / 'configs/probe' / config).model
    model.update(encoder=str(output), num_segments=1, dtype=None, encoder_weights='encoder')
    probe = MODELS.build(model)
    probe.init_weights()
    assert type(probe.backbone).__name__ == encoder
    assert len(ROWS) == len(MAKERS)


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
