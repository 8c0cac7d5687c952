"""Hooks that a config may lose without noticing."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config
from toy_training import make_runner

from nextvid_mm.config_files import check_config
from nextvid_mm.registry import HOOKS

ROOT = Path(__file__).resolve().parents[2]
FIX = re.escape('custom_hooks = [*_base_.custom_hooks, dict(...)]')


@pytest.mark.parametrize(
    ('left', 'missing', 'consequence'),
    [
        (['EMAHook'], 'StageHook', 'tau_samples'),
        (['StageHook'], 'EMAHook', 'model.reference would stay'),
        ([], 'StageHook', 'tau_samples'),
    ],
)
def test_a_list_that_replaced_the_inherited_one(tmp_path, left, missing, consequence):
    hooks = [dict(type=name) for name in left]
    runner = make_runner(tmp_path, custom_hooks=hooks)
    message = rf'no {missing} among the hooks \(.*LoggerHook.*\): .*{consequence}.*{FIX}'
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_model_without_reference_needs_no_ema(tmp_path):
    runner = make_runner(tmp_path, custom_hooks=[dict(type='StageHook')])
    model = runner.model
    model.reference = None
    model.forward = lambda inputs, data_samples=None, mode='loss': dict(
        loss=model.head.proj(model.neck(model.backbone(inputs[0]))).sum()
    )
    runner.train()
    assert runner.iter == runner.max_iters


def test_a_hook_derived_from_ours_will_do(tmp_path):
    @HOOKS.register_module(force=True)
    class SlowEMA(HOOKS.get('EMAHook')):
        """Another hook that moves the reference."""

    hooks = [dict(type='StageHook'), dict(type='SlowEMA')]
    runner = make_runner(tmp_path, custom_hooks=hooks)
    runner.train()
    assert runner.iter == runner.max_iters


def test_the_way_the_error_and_the_page_recommend(tmp_path):
    """Old hooks first, then the new one; and the config check finds a reader for every key."""
    page = (ROOT / 'docs/evaluate.md').read_text(encoding='utf-8')
    (block,) = (b for b in re.findall(r'```python\n(.*?)```', page, re.S) if 'custom_hooks' in b)
    base = ROOT / 'configs/nextvid/vit-tiny_demo.py'
    path = tmp_path / 'config.py'
    path.write_text(block.replace("'./vit-tiny_demo.py'", repr(str(base))))
    cfg = Config.fromfile(path)
    check_config(cfg, str(path))
    inherited = Config.fromfile(base).custom_hooks
    assert cfg.custom_hooks[:-1] == inherited
    assert cfg.custom_hooks[-1].type == 'OnlineProbeHook'
    assert {'StageHook', 'EMAHook'} <= {hook.type for hook in cfg.custom_hooks}
