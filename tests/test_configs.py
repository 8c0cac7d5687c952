"""Every pretraining config builds, and the published ones say what the paper says."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from paper import ASPECT_RATIO, MASKS, SHARES, STAGES

from nextvid_mm.config_files import check_config
from nextvid_mm.datasets.transforms.masking import PAPER_STRATEGIES
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.registry import MODELS

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / 'configs/nextvid').glob('*.py'))
OPENERS = ('VideoInit', 'VideoDecode', 'OpenVideo', 'ReadFrames')
PAPER = ROOT / 'configs/nextvid/vit-g_4stage.py'


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_it_has_no_unread_key_and_its_model_builds(path):
    config = Config.fromfile(path)
    check_config(config, str(path))
    StageTable(config.train_cfg.stages)
    with DefaultScope.overwrite_default_scope('nextvid_mm'), torch.device('meta'):
        model = MODELS.build(config.model)
    decoder = model.head.decoder
    assert decoder.target_proj.in_features == model.target_generator.channels
    assert decoder.condition_proj.in_features == model.neck.embed_dims
    assert model.neck.context_proj.in_features == model.backbone.embed_dims
    assert model.align_head.proj.out_features == model.backbone.embed_dims


@pytest.mark.parametrize(
    ('name', 'depth', 'width', 'heads', 'hidden'),
    [('l', 24, 1024, 16, 4096), ('h', 32, 1280, 16, 5120), ('g', 40, 1408, 22, 6144)],
)
def test_encoders_are_those_of_table_7(name, depth, width, heads, hidden):
    config = Config.fromfile(ROOT / f'configs/nextvid/vit-{name}_4stage.py')
    with torch.device('meta'):
        encoder = MODELS.build(config.model.backbone)
    assert (encoder.depth, encoder.embed_dims, encoder.num_heads) == (depth, width, heads)
    assert encoder.blocks[0].mlp.fc1.out_features == hidden
    assert (encoder.patch_size, encoder.tubelet_size, encoder.img_size) == (16, 2, 256)


def test_stages_are_those_of_table_8():
    config = Config.fromfile(PAPER)
    for ours, published in zip(config.train_cfg.stages, STAGES, strict=True):
        found = {key: ours.get(key) for key in published}
        assert found | dict(lr=tuple(found['lr']), name=published['name']) == published
    assert {s.ema_momentum for s in config.train_cfg.stages} == {0.99925}
    optimizer = config.optim_wrapper.optimizer
    assert (tuple(optimizer.betas), optimizer.weight_decay) == ((0.9, 0.95), 0.04)
    assert config.optim_wrapper.clip_grad.max_norm == 1.0
    assert (config.model.head.loss_weight, config.model.align_head.loss_weight) == (0.5, 1.0)


@pytest.mark.parametrize(
    ('name', 'smaller', 'width'),
    [('s_1gpu', 16, 384), ('s_8gpu', 4, 384), ('b_1gpu', 16, 768), ('b_8gpu', 4, 768)],
)
def test_smaller_recipes_keep_the_papers_proportions(name, smaller, width):
    config = Config.fromfile(ROOT / f'configs/nextvid/vit-{name}.py')
    paper = StageTable(Config.fromfile(PAPER).train_cfg.stages)
    table = StageTable(config.train_cfg.stages)
    rate = smaller**-0.5
    for ours, theirs in zip(table, paper, strict=True):
        assert ours.steps * 2 == theirs.steps
        assert ours.batch_size * smaller == theirs.batch_size
        assert ours.lr == pytest.approx([rate * 1024 / width * lr for lr in theirs.lr])
        if theirs.flow_lr is None:
            assert ours.flow_lr is None
        else:
            assert ours.flow_lr == pytest.approx([rate * lr for lr in theirs.flow_lr])
        assert (ours.tau_samples, ours.num_frames) == (theirs.tau_samples, theirs.num_frames)
        memory = [1 / (1 - stage.ema_momentum) for stage in (ours, theirs)]
        assert memory[0] * 2 == pytest.approx(memory[1])
    assert config.auto_scale_lr.base_batch_size == table.stages[0].batch_size
    table.batches(int(name[2]))  # the number of GPUs divides every batch
    backbone = MODELS.build(config.model.backbone)
    assert (backbone.embed_dims, backbone.depth, backbone.num_heads) == (width, 12, width // 64)


def test_the_mixture_is_that_of_table_6():
    loader = Config.fromfile(PAPER).train_dataloader.dataset
    weights = {source.name: source.weight for source in loader.sources}
    assert weights == SHARES
    masking = next(t for t in loader.pipeline if t.type == 'FrameIsolatedMasking')
    assert tuple((s.num_blocks, s.scale) for s in masking.strategies) == MASKS
    assert tuple(masking.aspect_ratio) == ASPECT_RATIO
    assert tuple((s['num_blocks'], s['scale']) for s in PAPER_STRATEGIES) == MASKS


@pytest.mark.parametrize('size', [64, 96])
def test_one_key_is_the_resolution_of_the_recipe_for_own_videos(tmp_path, size):
    page = (ROOT / 'docs/data.md').read_text()
    (recipe,) = re.findall(r'```python\n(_base_.*?)```', page, re.DOTALL)
    assert recipe.count('64') == 1
    recipe = recipe.replace(
        "'./vit-tiny_demo.py'", repr(str(ROOT / 'configs/nextvid/vit-tiny_demo.py'))
    )
    path = tmp_path / 'my_videos.py'
    path.write_text(recipe.replace('size = 64', f'size = {size}'))
    config = Config.fromfile(path)
    check_config(config, str(path))
    frames = [np.zeros((120, 160, 3), np.uint8)] * 4
    results = dict(imgs=frames, num_clips=1, clip_len=4, modality='RGB', start_index=0)
    dataset = config.train_dataloader.dataset
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        results |= dict(img_shape=(120, 160), static=False, sample_seed=0)
        sample = Compose([*dataset.sources[0].dataset.pipeline[3:], *dataset.pipeline])(results)
        encoder = MODELS.build(config.model.backbone)
    assert sample['inputs'].shape[-2:] == (size, size)
    assert encoder.img_size == size
    visible, hidden = (sample['data_samples'].masks[0][name] for name in ('visible', 'hidden'))
    assert len(visible) + len(hidden) == (size // 16) ** 2


def test_no_config_depends_on_the_environment():
    texts = {path: path.read_text() for path in (ROOT / 'configs').rglob('*.py')}
    assert len(texts) > 50
    assert not [path for path, text in texts.items() if '{{' in text or 'environ' in text]


def test_absent_data_is_one_clear_error(tmp_path):
    command = [sys.executable, ROOT / 'tools/train.py', PAPER, '--work-dir', tmp_path / 'work']
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith('train: error:')
    assert 'docs/data.md' in done.stderr
    assert 'data/' in done.stderr
    assert 'Traceback' not in done.stderr


def test_all_configs_read_videos_and_pictures_with_the_one_reader():
    others = re.compile(r"'[^']*(?:LoadImageFromFile|Init|Decode|ImageDecode)'")
    found = {
        match
        for path in (ROOT / 'configs').rglob('*.py')
        for match in others.findall(path.read_text(encoding='utf-8'))
    }
    ours = {f"'{scope}{name}'" for scope in ('', 'nextvid_mm.') for name in OPENERS}
    assert ours & found
    assert found <= ours
