"""GoodputHook: what the time goes into, and useful operations over it."""

import json
from itertools import count
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from noise_training import train_tiny

from nextvid_mm import goodput
from nextvid_mm.engine import clock
from nextvid_mm.engine.hooks.advice import GLOSSARY
from nextvid_mm.engine.stages import StageTable
from nextvid_mm.goodput import GoodputHook, clip_costs, device_peak
from nextvid_mm.plan.flops import step_cost

SHARES = ('host_share', 'save_share', 'val_share', 'goodput')


@pytest.fixture
def wait(monkeypatch):
    """Lets time pass at once, on the clocks of the loop and of the hook."""
    now = [100.0]
    for module in (clock, goodput):
        monkeypatch.setattr(module, 'time', SimpleNamespace(perf_counter=lambda: now[0]))

    def wait(seconds):
        now[0] += seconds

    return wait


class Work(Hook):
    """A micro-batch takes a second, the hook before a step ``host``, and a save ``save``."""

    def __init__(self, wait, host=0, save=0):
        self.wait, self.host, self.save = wait, host, save

    def before_train(self, runner):
        step = runner.model.train_step

        def slow(*arguments, **settings):
            self.wait(1)
            return step(*arguments, **settings)

        runner.model.train_step = slow

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.wait(self.host)

    def before_save_checkpoint(self, runner, checkpoint):
        self.wait(self.save)


def test_shares_of_the_time(tmp_path, wait):
    runner = train_tiny(tmp_path, GoodputHook(), Work(wait, host=3))
    scalars = runner.message_hub.log_scalars
    share = {name: scalars[f'train/{name}'].current() for name in SHARES}
    assert share == pytest.approx(dict(host_share=0.6, save_share=0, val_share=0, goodput=0.4))
    assert 'train/tflops' not in scalars  # nobody can say what the noise's masks are
    logged = json.loads(next(tmp_path.rglob('scalars.json')).read_text().splitlines()[-1])
    assert set(SHARES) <= set(logged) <= set(GLOSSARY)


def test_saves_are_counted_as_saves(tmp_path, wait):
    changes = {'default_hooks.checkpoint.interval': 1, 'log_processor.window_size': 2}
    runner = train_tiny(tmp_path, GoodputHook(), Work(wait, save=5), **changes)
    share = runner.message_hub.get_scalar('train/save_share').current()
    assert share == pytest.approx(5 / 9)  # of the first step: the log comes before the second


@pytest.mark.parametrize('peak', [None, 100.0])
def test_operations_over_time_and_over_the_peak(tmp_path, monkeypatch, peak):
    monkeypatch.setattr(goodput, 'clip_costs', lambda cfg, stages: [(3e12, 1e12)])
    seconds = count(step=2)  # that a step takes
    monkeypatch.setattr(goodput, 'time', SimpleNamespace(perf_counter=lambda: next(seconds)))
    runner = train_tiny(tmp_path, GoodputHook(peak))
    hub = runner.message_hub
    (rate,) = hub.get_scalar('train/tflops').data[0][-1:]
    assert rate == pytest.approx(6 * 3 / 2)  # six clips, none still
    if peak is None:  # without a GPU nobody knows one
        assert 'train/mfu' not in hub.log_scalars
    else:
        assert hub.get_scalar('train/mfu').current() == pytest.approx(rate / 100)


def test_clips_cost_what_the_formulas_say():
    cfg = Config.fromfile('configs/nextvid/vit-tiny_demo.py')
    stages = list(StageTable(cfg.train_cfg.stages))
    found = clip_costs(cfg, stages)
    assert len(found) == len(stages)
    masks = goodput.patches_of_masks(cfg)
    last = stages[-1]
    costs = step_cost(
        cfg.model, 1, last.num_frames, cfg.model.backbone.img_size, masks, last.tau_samples
    )
    assert found[-1][0] == sum(cost.total for cost in costs.values())
    assert found[0][0] < found[-1][0]  # longer clips


OTHERS = (
    *('baselines/videomae_demo', 'baselines/next-frame_demo'),
    *(f'ablations/{name}' for name in ('table2_generation', 'table5_decoder-cross-self')),
)


@pytest.mark.parametrize('name', OTHERS)
def test_other_models_have_no_count_and_no_error(name):
    cfg = Config.fromfile(f'configs/{name}.py')
    assert clip_costs(cfg, list(StageTable(cfg.train_cfg.stages))) is None


@pytest.mark.parametrize(
    ('name', 'peak'),
    [
        ('NVIDIA H100 80GB HBM3', 989.0),
        ('NVIDIA H200', 989.0),
        ('NVIDIA A100-SXM4-40GB', 312.0),
        ('NVIDIA L40S', 362.0),
        ('NVIDIA L4', 121.0),
        ('NVIDIA GeForce RTX 4090', 165.0),
        ('NVIDIA L40', None),
        ('NVIDIA RTX A1000', None),
        ('NVIDIA H100 PCIe', None),
        ('NVIDIA GeForce RTX 4090 Laptop GPU', None),
        ('Another', None),
    ],
)
def test_peaks_by_the_name_of_the_gpu(name, peak):
    assert device_peak(name) == peak


def test_a_peak_below_zero():
    with pytest.raises(ValueError, match='peak_tflops=0 must be None or above 0'):
        GoodputHook(0)
