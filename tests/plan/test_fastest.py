"""The fastest setting that fits, and that the published configs have it."""

from itertools import product
from pathlib import Path

import pytest
from mmengine.config import Config

from nextvid_mm.plan.activations import PARTS, recompute_of
from nextvid_mm.plan.fastest import SETTINGS, Fastest, describe
from nextvid_mm.plan.memory_plan import USABLE

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/nextvid'
STAGE = dict(steps=1, lr=1.0, tau_samples=1, num_frames=16)


@pytest.fixture(scope='module')
def plans():
    """The demo's model in two stages of one kind, 16 and 8 clips for a GPU."""
    config = Config.fromfile(CONFIGS / 'vit-tiny_demo.py')
    config.train_cfg.stages = [
        dict(STAGE, name='a', batch_size=32), dict(STAGE, name='b', batch_size=16, steps=2)
    ]  # fmt: skip
    return Fastest(config, 80, world_size=2)


def _with(plans, memory):
    plans.room = memory
    return plans.find()


def test_with_room_nothing_is_recomputed_and_all_clips_go_at_once(plans):
    found = _with(plans, 1e12)
    assert found.recompute == dict.fromkeys(PARTS, False)
    assert [choice.clips for _, choice in found.stages] == [16, 8]
    assert found.best == [choice for _, choice in found.stages]
    assert found.options == {
        'model.compile': True,
        'model.backbone.with_cp': False,
        'model.neck.with_cp': False,
        'model.head.decoder.with_cp': False,
        'train_cfg.stages.0.micro_batch_size': 16,
        'train_cfg.stages.1.micro_batch_size': 8,
    }


def test_it_is_the_cheapest_of_all_that_fit(plans):
    every = plans.choices(plans.table.stages[0], 16)
    assert len(every) == len(SETTINGS) ** 3 * 5  # 16, 8, 4, 2, 1 clips
    sizes = sorted(choice.memory for choice in every)
    costs = []
    for memory in (sizes[-1], sizes[len(sizes) // 2], sizes[len(sizes) // 5]):
        found = _with(plans, memory)
        for stage, choice in found.stages:
            assert choice.memory <= memory
            clips = stage.batch_size // 2
            same = [c for c in plans.choices(stage, clips) if c.recompute == found.recompute]
            fitting = [c for c in same if c.memory <= memory and c.clips * 16 >= 128]
            assert choice.clips == max((c.clips for c in fitting), default=choice.clips)
        costs.append(sum(choice.extra for _, choice in found.stages))
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_recomputation_costs_time_and_saves_memory(plans):
    choices = {
        tuple(c.recompute.values()): c
        for c in plans.choices(plans.table.stages[0], 16)
        if c.clips == 8
    }
    assert set(choices) == set(product(SETTINGS, repeat=3))
    for part in range(3):
        how = [[False] * 3 for _ in SETTINGS]
        for settings, value in zip(how, SETTINGS, strict=True):
            settings[part] = value
        plain, products, blocks = (choices[tuple(settings)] for settings in how)
        assert plain.memory > products.memory > blocks.memory
        assert plain.extra < products.extra < blocks.extra


def test_what_cannot_fit_is_told(plans):
    with pytest.raises(ValueError, match=r"stage 'a' does not fit: one clip that recomputes .* GB"):
        _with(plans, 1000)


def test_models_without_formulas_are_refused():
    config = Config.fromfile(CONFIGS.parent / 'baselines/vjepa_demo.py')
    with pytest.raises(ValueError, match=r"model.type='MaskedVideoRegression': operations are"):
        Fastest(config, 80, world_size=1)


def test_the_table_ends_with_the_keys(plans):
    found = _with(plans, 1e12)
    *_, keys = describe(found, 80, 'title')
    assert keys.startswith('--cfg-options model.compile=True model.backbone.with_cp=False')


# The other sizes are as quickly said by tools/plan_memory.py --gpu 80 as tested: seconds each.
@pytest.mark.slow
@pytest.mark.parametrize('names', [['vit-l_4stage'], ['vit-g_4stage', 'vit-g_4stage_fsdp']])
def test_published_configs_have_what_is_fastest_on_80_gb(names):
    counter = None
    for name in names:
        config = Config.fromfile(CONFIGS / f'{name}.py')
        plan = Fastest(config, 80, 96, 96 if name.endswith('fsdp') else None)
        plan.counter = counter = counter or plan.counter  # the same model: counted once
        found = plan.find()
        assert config.model.compile is True
        assert recompute_of(config.model) == found.recompute
        stages = config.train_cfg.stages
        assert [s.micro_batch_size for s in stages] == [c.clips for _, c in found.stages]
        assert all(choice.memory <= USABLE * 80e9 for _, choice in found.stages)
