"""A number that leaves its range is said in words, once; every number of the log is explained."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import MessageHub
from noise_training import train_tiny

from nextvid_mm.engine.hooks import HealthHook
from nextvid_mm.engine.hooks.advice import GLOSSARY, AdviceHook
from nextvid_mm.engine.stages import StageTable

PAGE = Path(__file__).resolve().parents[3] / 'docs/log.md'
STAGE = dict(name='one', steps=100, lr=1e-3, tau_samples=1, num_frames=4, batch_size=4)


class Log(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture
def runner():
    """What the hook looks at."""
    log, logger = Log(), logging.Logger('of the test')
    logger.addHandler(log)
    return SimpleNamespace(
        iter=0,
        log=log,
        model=SimpleNamespace(reference='a reference encoder'),
        call_hook=lambda name: None,
        logger=logger,
        message_hub=MessageHub.get_instance('of the test'),
        train_loop=SimpleNamespace(table=StageTable([STAGE])),
    )


def step(hook, runner, **scalars):
    for name, value in scalars.items():
        runner.message_hub.update_scalar(f'train/{name}', value)
    hook.after_train_iter(runner, runner.iter)
    runner.iter += 1


def test_a_slow_loader_is_told_once(runner):
    hook = AdviceHook(interval=1)
    for share in (0.2, 0.7, 0.9):
        step(hook, runner, data_share=share)
    (line,) = runner.log.lines
    assert line.startswith('step 2: training waits for the loader 70% of the time (data_share)')
    assert 'train_dataloader.num_workers' in line


def test_a_rank_that_falls_and_recovers_is_healthy_and_one_that_stays_is_not(runner):
    hook = AdviceHook(interval=1)
    for rank in (40, 9, 8, 7, 8, 15, 30, 40):
        step(hook, runner, feature_rank=rank)
    assert runner.log.lines == []
    for rank in (5, 4, 3, 3, 2, 2):
        step(hook, runner, feature_rank=rank)
    (line,) = runner.log.lines
    assert 'rank of 2.0 (feature_rank), were at 40.0, and do not recover' in line


def test_a_gradient_that_explodes(runner):
    hook = AdviceHook(interval=1)
    for norm in (1, 2, 1, 2, 1, 2, 31, 42):
        step(hook, runner, grad_norm=norm)
    (line,) = runner.log.lines
    assert 'step 7: the gradient norm is 31 (grad_norm), was at 1.5' in line


def test_a_reference_that_is_too_slow(runner):
    AdviceHook().before_train(runner)
    (line,) = runner.log.lines
    assert 'averages over 1,333 steps, the run has 100' in line
    assert "('one': 0.99925), such as to 0.9" in line
    runner.train_loop.table = StageTable([STAGE | dict(ema_momentum=0.9)])
    AdviceHook().before_train(runner)
    assert len(runner.log.lines) == 1


@pytest.mark.parametrize('model', [SimpleNamespace(reference=None), SimpleNamespace()])
def test_a_model_without_reference_gets_no_advice_on_it(runner, model):
    runner.model = model
    AdviceHook().before_train(runner)
    assert runner.log.lines == []


def test_a_source_of_which_nothing_can_be_read(runner):
    hook = AdviceHook(interval=1)
    bad, good = dict(source='bad', replaced=[('a', 'b')]), dict(source='good', replaced=())
    batch = dict(data_samples=SimpleNamespace(info=[bad] * 20 + [good] * 20))
    hook.after_micro_batch(runner, 0, batch)
    step(hook, runner)
    (line,) = runner.log.lines
    assert "all 20 clips of source 'bad' were replaced by others" in line


def test_every_number_of_the_log_is_explained(tmp_path):
    train_tiny(tmp_path, HealthHook(interval=1), AdviceHook(interval=1))
    lines = next(tmp_path.rglob('scalars.json')).read_text().splitlines()
    logged = {key for line in lines for key in json.loads(line)}
    assert {'loss', 'grad_norm', 'clips_per_s', 'data_share', 'feature_rank'} <= logged
    assert logged <= set(GLOSSARY)


def table():
    cells = ((f'`{name}`', s.unit, s.window, s.healthy, s.meaning) for name, s in GLOSSARY.items())
    return '\n'.join(f'| {" | ".join(row)} |' for row in cells)


def test_the_page_has_them_all():
    assert table() in PAGE.read_text(encoding='utf-8')
