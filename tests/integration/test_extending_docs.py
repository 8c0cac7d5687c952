"""docs/extending.md: each part on the page is built and trained three steps by the true Runner."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from nextvid_mm import registry

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / 'docs/extending.md').read_text(encoding='utf-8')
STAGE = dict(name='all', steps=3, lr=1e-3, tau_samples=1, num_frames=4, batch_size=2)
REGISTRIES = (registry.MODELS, registry.TRANSFORMS, registry.DATASETS, registry.HOOKS)


def blocks(title):
    """The blocks of Python under a heading."""
    section = PAGE.split(f'\n## {title}\n')[1].split('\n## ')[0]
    return re.findall(r'```python\n(.*?)```', section, re.DOTALL)


TITLES = re.findall(r'^## (.*)$', PAGE, re.MULTILINE)


@pytest.fixture(scope='module')
def space():
    """All classes of the page, which take their imports from above like a reader does."""
    for kinds in REGISTRIES:
        kinds.import_from_location()  # what is registered later than here is the page's
    before = [set(kinds.module_dict) for kinds in REGISTRIES]
    names = {}
    for title in TITLES:
        for block in blocks(title):
            if 'class ' in block:
                exec(compile(block, f'extending.md: {title}', 'exec'), names)
    yield names
    for kinds, known in zip(REGISTRIES, before, strict=True):
        for name in set(kinds.module_dict) - known:
            kinds.module_dict.pop(name)


@pytest.fixture
def config(space, tmp_path):
    """The demo's config on a few arrays of noise, read by the page's own source."""
    init_default_scope('nextvid_mm')
    rng = np.random.default_rng(0)
    for number in range(3):
        np.save(tmp_path / f'{number}.npy', rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8))
    cfg = Config.fromfile(ROOT / 'configs/nextvid/vit-tiny_demo.py')
    source = settings('A source of clips')['source']
    source['dataset']['data_root'] = str(tmp_path)
    cfg.train_dataloader.dataset.sources = [source]
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.stages = [STAGE]
    cfg.custom_hooks = [dict(type=t) for t in ('StageHook', 'EMAHook', 'FaultHook')]
    cfg.custom_hooks += [dict(type='HealthHook', interval=1), dict(type='SourceCountHook')]
    cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    cfg.work_dir, cfg.log_level = str(tmp_path / 'run'), 'WARNING'
    cfg.experiment_name = f'extending_{tmp_path.name}'
    return cfg


def settings(title):
    """What the config blocks under a heading say."""
    said = {}
    for block in blocks(title):
        if 'class ' not in block:
            exec(compile(block, f'extending.md: {title}', 'exec'), said)
    return {key: value for key, value in said.items() if not key.startswith('__')}


def train(cfg):
    runner = Runner.from_cfg(cfg)
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert runner.iter == 3
    assert len(losses) == 3
    assert np.isfinite(losses).all()
    return runner


@pytest.mark.parametrize(
    ('title', 'slot', 'kind'),
    [
        ('An encoder', 'backbone', 'RunningMeanEncoder'),
        ('A predictor', 'neck', 'MeanPredictor'),
        ('A head', 'head', 'HuberHead'),
        ('A generation target', 'target_generator', 'EdgeTarget'),
    ],
)
def test_a_part_of_the_model_trains(title, slot, kind, config):
    config.merge_from_dict(settings(title))
    model = train(config).model
    assert type(getattr(model, slot)).__name__ == kind
    if slot == 'backbone':
        assert type(model.reference.encoder).__name__ == kind
        assert model.reference.encoder.embed.weight.ne(model.backbone.embed.weight).any()


def test_the_encoder_keeps_its_promise_to_be_causal(space):
    encoder, clip = space['RunningMeanEncoder'](24, 16, 4), torch.rand(1, 3, 8, 16, 16)
    other = clip.clone()
    other[:, :, 4:] = 0
    moved = (encoder.encode(clip) - encoder.encode(other)).abs().amax((0, 2, 3))
    assert moved[:2].max() == 0
    assert moved[2] > 0


def test_the_target_goes_back_to_pixels(space):
    target, clip = space['EdgeTarget'](4), torch.rand(1, 3, 4, 16, 16) * 2 - 1
    raw = target.encode(clip)
    torch.testing.assert_close(target.denormalize(target.normalize(raw)), raw)
    # Differences add up over a row of the whole picture.
    from nextvid_mm.layers import TokenGrid

    torch.testing.assert_close(target.decode(raw, TokenGrid(2, 4, 4)), clip)


def test_a_mask_trains(config):
    pipeline = config.train_dataloader.dataset.pipeline
    place = next(n for n, step in enumerate(pipeline) if step['type'] == 'FrameIsolatedMasking')
    pipeline[place] = dict(type='ColumnMasking', patch_size=16)
    runner = train(config)
    dataset = runner.train_dataloader.dataset
    (request,) = runner.train_dataloader.batch_sampler.sampler.requests(np.arange(1), 4)
    (mask,) = dataset[request]['data_samples'].masks
    assert sorted([*mask['visible'].tolist(), *mask['hidden'].tolist()]) == list(range(16))
    assert len(mask['visible']) == 8


def test_a_source_and_a_hook_train(config):
    runner = train(config)
    hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'SourceCountHook')
    assert dict(hook.counts) == {'arrays': 6}
