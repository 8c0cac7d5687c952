"""Every ablation and baseline builds at both scales and trains; each differs where it says."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch.utils.data import Dataset
from toy_training import ToyRunner

from nextvid_mm.config_files import check_config
from nextvid_mm.demo.ablations import TABLES
from nextvid_mm.demo.ablations.runs import at_demo_scale
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.models.target_generators.pretrained import PretrainedTarget
from nextvid_mm.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[1]
ABLATIONS = sorted((ROOT / 'configs/ablations').glob('*.py'))
BASELINES = sorted((ROOT / 'configs/baselines').glob('*.py'))
# Targets that need published weights, as networks of random weights and little width.
SMALL = {
    'table3_target-vavae': {'base_channels': 32, 'statistics': None},
    'table3_target-siglip2': {
        'statistics': None,
        'architecture.hidden_size': 48,
        'architecture.intermediate_size': 48,
        'architecture.num_hidden_layers': 1,
        'architecture.num_attention_heads': 2,
    },
    'table3_target-cosmos': {
        'architecture.num_layers': 1,
        'architecture.attention_resolutions': [],
        'architecture.encoder_block_out_channels': [16, 16, 16, 16],
        'architecture.decode_block_out_channels': [16, 16, 16, 16],
    },
}


@DATASETS.register_module(force=True)
class RandomVideos(Dataset):
    """Noise that goes through the pipeline of a config."""

    names, weights, lengths, metainfo = ('noise',), (1.0,), (50,), dict(name='noise')

    def __init__(self, pipeline, size=64):
        self.pipeline, self.size = Compose(pipeline), size

    def __len__(self):
        return 50

    def __getitem__(self, request):
        frames = request.num_frames
        rng = np.random.default_rng(request.seed)
        images = [rng.integers(0, 256, (self.size, self.size, 3), np.uint8) for _ in range(frames)]
        results = dict(imgs=images, num_clips=1, clip_len=frames, modality='RGB', start_index=0)
        return self.pipeline(results | dict(sample_seed=request.seed, static=False))


def load(path, scale='demo'):
    return (
        Config.fromstring(at_demo_scale(path), '.py') if scale == 'demo' else Config.fromfile(path)
    )


def loadable(path):
    return [scale for scale in ('demo', 'paper') if 'baselines' not in str(path) or scale == 'demo']


@pytest.mark.parametrize(
    ('path', 'scale'),
    [(path, scale) for path in (*ABLATIONS, *BASELINES) for scale in loadable(path)],
    ids=lambda value: value if isinstance(value, str) else value.stem,
)
def test_it_builds_and_no_key_is_unread(path, scale, tmp_path):
    if scale == 'demo':
        composed = tmp_path / path.name
        composed.write_text(at_demo_scale(path))
        path = composed
    config = Config.fromfile(path)
    check_config(config, str(path))
    assert StageTable(config.train_cfg.stages).total_steps in (
        (15_000, 30_000) if scale == 'paper' else (demo_steps(),)
    )
    with DefaultScope.overwrite_default_scope('nextvid_mm'), torch.device('meta'):
        assert MODELS.build(config.model).backbone.embed_dims == (1024 if scale == 'paper' else 128)


def demo_steps():
    stages = Config.fromfile(ROOT / 'configs/nextvid/vit-tiny_demo.py').train_cfg.stages
    return StageTable(stages).total_steps


@pytest.mark.parametrize('path', [*ABLATIONS, *BASELINES], ids=lambda path: path.stem)
def test_it_trains_three_steps(path, tmp_path, monkeypatch):
    monkeypatch.setattr(PretrainedTarget, 'init_weights', lambda self: None)
    runner = ToyRunner.from_cfg(shrink(load(path), path.stem, tmp_path))
    before = [p.detach().clone() for p in runner.model.parameters() if p.requires_grad]
    runner.train()
    after = [p for p in runner.model.parameters() if p.requires_grad]
    moved = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert moved > len(before) / 2
    if runner.model.reference is not None and path.stem == 'table11_ema-none':
        for mine, theirs in zip(
            runner.model.reference.parameters(), runner.model.backbone.parameters(), strict=True
        ):
            assert torch.equal(mine, theirs)


def shrink(config, name, work_dir):
    """The config on noise, with three steps of two short clips and nothing written."""
    small = SMALL.get(name, {})
    config.merge_from_dict({f'model.target_generator.{key}': v for key, v in small.items()})
    if 'architecture.hidden_size' in small:
        config.model.head.decoder.target_channels = 2 * small['architecture.hidden_size']
    stages = [dict(s, steps=1, num_frames=4, batch_size=2) for s in config.train_cfg.stages[:3]]
    config.train_cfg.stages = stages
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_dataloader = dict(
        num_workers=0, dataset=dict(type='RandomVideos', pipeline=pipeline)
    )
    config.default_hooks.checkpoint = dict(type='SafeCheckpointHook', interval=-1, save_last=False)
    config.visualizer = dict(type='Visualizer', vis_backends=[])
    config.update(work_dir=str(work_dir), experiment_name=work_dir.name, log_level='WARNING')
    return config


def test_every_config_is_a_row_and_every_row_has_its_config():
    named = {row.config for rows in TABLES.values() for row in rows if row.config}
    assert named == {path.relative_to(ROOT).as_posix() for path in (*ABLATIONS, *BASELINES)}


@pytest.mark.parametrize('scale', ['demo', 'paper'])
def test_rows_differ_from_the_full_method_only_where_they_say(scale):
    """Data, order and schedule are shared; what a row changes is listed here."""
    full = load(ROOT / 'configs/ablations/table2_full.py', scale)
    changes = {
        path.stem: sorted(changed(full, load(path, scale)))
        for path in ABLATIONS
        if not path.stem.startswith(('table3', 'table12'))
    }
    no_align = ['model.align_head', 'model.reference']
    nothing_made = ['model.head', 'model.target_generator']
    masks = ['train_dataloader.dataset']
    queries = {name: ['model.queries'] for name in ('all', 'hidden')} | {full.model.queries: []}
    assert changes == {
        'extra_no-masking': masks,
        'extra_queries-all': queries['all'],
        'extra_queries-hidden': queries['hidden'],
        'extra_regression': ['model.head'],
        'table11_ema-none': ['train_cfg.stages'],
        'table2_alignment': ['model.head', 'model.neck', 'model.target_generator'],
        'table2_alignment-isolation': nothing_made,
        'table2_full': [],
        'table2_generation': ['model.align_head', 'model.neck', 'model.reference'],
        'table2_generation-alignment': ['model.neck'],
        'table2_generation-isolation': no_align,
        'table4_masking-none': no_align + masks,
        'table5_decoder-cross-self': ['model.align_head', 'model.head', 'model.reference'],
    }


def changed(full, row):
    for part in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        keys = full[part].keys() | row[part].keys()
        yield from (f'{part}.{k}' for k in keys if full[part].get(k) != row[part].get(k))


def test_masks_and_tau_samples_are_those_of_the_row():
    for name, expected in (('extra_no-masking', (16, 16)), ('table4_masking-none', (16, 16))):
        config = load(ROOT / f'configs/ablations/{name}.py')
        assert mask_sizes(config) == [expected]
    assert mask_sizes(load(ROOT / 'configs/baselines/videomae_demo.py')) == [(4, 12)]
    for count in (1, 4):
        stages = load(ROOT / f'configs/ablations/table12_tau-{count}.py').train_cfg.stages
        assert {stage.tau_samples for stage in stages} == {count}


def mask_sizes(config):
    """Visible and hidden patches of each strategy."""
    steps = [dict(step) for step in config.train_dataloader.dataset.pipeline]
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        sample = RandomVideos(steps)[type('Request', (), dict(num_frames=4, seed=1))]
    masks = sample['data_samples'].masks
    return [(len(mask['visible']), len(mask['hidden'])) for mask in masks]
