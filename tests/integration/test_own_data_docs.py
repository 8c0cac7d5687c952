"""The recipe of docs/evaluate.md for labelled videos of one's own, from files to the report."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from exporting import save_checkpoint
from mmengine.config import Config

from nextvid_mm.config_files import check_config
from nextvid_mm.datasets.video_writer import encode_video

ROOT = Path(__file__).resolve().parents[2]
NAMES = ('up', 'down', 'left', 'right', 'still')
ENCODER = dict(
    type='CausalViT',
    arch=dict(embed_dims=32, depth=1, num_heads=2, mlp_ratio=2.0),
    img_size=64,
    patch_size=16,
)
# What makes it quick; everything else is the page's.
QUICK = [
    'train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0', 'val_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=3', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
    'model.cls_head.num_heads=2', 'model.cls_head.lrs=[1e-3]',
    'model.cls_head.weight_decays=[0.1]', 'visualizer.vis_backends=[]',
]  # fmt: skip


def blocks(page, language):
    text = (ROOT / 'docs' / page).read_text(encoding='utf-8')
    return re.findall(rf'```{language}\n(.*?)```', text, re.DOTALL)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Videos of several sizes and rates, lists with all they may hold, the page's config, a run."""
    root = tmp_path_factory.mktemp('own')
    data = root / 'data/mine'
    (data / 'some clips').mkdir(parents=True)
    draw = np.random.default_rng(0)
    for split in ('train', 'val'):
        lines = ['# path label', '']
        for label in range(len(NAMES)):
            name = f'some clips/{split} {label}.mp4'
            shape = (70 - 10 * label, 96 + 32 * label, 160 - 16 * label, 3)
            frames = draw.integers(0, 60, shape) + 40 * label
            encode_video(data / name, frames.astype(np.uint8), fps=12 + 6 * (label % 2))
            lines.append(f'{name} {label}')
        (data / f'{split}.txt').write_text('\n'.join(lines) + '\n')
    (data / 'label_map.txt').write_text('\n'.join(NAMES) + '\n')
    (recipe,) = (block for block in blocks('evaluate.md', 'python') if 'ClipListDataset' in block)
    base = ROOT / 'configs/_base_/probe/attentive.py'
    assert "'../_base_/probe/attentive.py'" in recipe
    (root / 'configs/probe').mkdir(parents=True)
    config = recipe.replace("'../_base_/probe/attentive.py'", repr(str(base)))
    (root / 'configs/probe/my_labels.py').write_text(config)
    logs = root / 'work_dirs/my_videos/20260101_000000/vis_data'
    logs.mkdir(parents=True)
    (logs / 'scalars.json').write_text('{"loss": 1.0, "step": 1}')
    checkpoint = root / 'work_dirs/my_videos/iter_1500.pth'
    save_checkpoint(checkpoint, ENCODER)
    saved = torch.load(checkpoint, weights_only=True)
    run = Config.fromstring(saved['meta']['cfg'], '.py')
    run.model.data_preprocessor = Config.fromfile(base).model.data_preprocessor
    run.pop('train_dataloader')
    run.dump(checkpoint.with_name('my_videos.py'))
    return root


def test_probe_and_report(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv('LOCAL_RANK', '0')
    (page,) = (block for block in blocks('evaluate.md', 'bash') if 'my_labels' in block)
    probe, report = (shlex.split(line) for line in page.replace('\\\n', ' ').splitlines())
    for words, more in ((probe, ['--cfg-options', *QUICK]), (report, ['--device', 'cpu'])):
        monkeypatch.setattr(sys, 'argv', [*words[1:], *more])
        runpy.run_path(str(ROOT / words[1]), run_name='__main__')
    record = json.loads(Path('work_dirs/my_videos/probe/probe_results.json').read_text())
    assert (record['num_samples'], record['failed']) == (5, [])
    assert len(record['members'][0]['views']) == 3
    html = Path(capsys.readouterr().out.split()[-1]).read_text()
    assert 'Probes of your own' in html
    assert 'data/mine/val.txt' in html
    assert 'work_dirs/my_videos/iter_1500.pth (reference)' in html
    assert 'What the features know' in html


def test_clips_are_those_of_the_pretraining_example(folder):
    path = folder / 'configs/probe/my_labels.py'
    config = Config.fromfile(path)
    check_config(config, str(path))
    (own,) = (block for block in blocks('data.md', 'python') if "'./vit-tiny_demo.py'" in block)
    base = ROOT / 'configs/nextvid/vit-tiny_demo.py'
    own = own.replace("'./vit-tiny_demo.py'", repr(str(base)))
    (folder / 'my_videos.py').write_text(own)
    pretraining = Config.fromfile(folder / 'my_videos.py')
    (source,) = pretraining.train_dataloader.dataset.sources
    rate, size = step(source.dataset, 'SampleClipByTime').fps, step(source.dataset, 'Resize').scale
    frames = {stage.num_frames for stage in pretraining.train_cfg.stages}
    for name in ('train_dataloader', 'val_dataloader'):
        dataset = config[name].dataset
        sampling = step(dataset, 'SampleClipByTime')
        assert sampling.fps == rate
        assert sampling.num_frames in frames
        assert sampling.num_clips == config.model.num_segments
    assert step(config.train_dataloader.dataset, 'Resize').scale == size
    assert step(config.val_dataloader.dataset, 'Resize').scale == (-1, size[0])
    assert step(config.val_dataloader.dataset, 'ThreeCrop').crop_size == size[0]


def step(dataset, kind):
    (found,) = [entry for entry in dataset.pipeline if entry.type.rpartition('.')[2] == kind]
    return found
