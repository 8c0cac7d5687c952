"""The printed schedule."""

import io

import pytest
from mmengine.config import Config
from rich.console import Console

from nextvid_mm.engine.stages import StageTable
from nextvid_mm.plan.stage_report import (
    COLUMNS,
    render,
    stage_rows,
    stage_table_of,
    tokens_per_clip,
)

STAGES = [
    dict(name='a', steps=1000, lr=(1e-4, 5e-4), tau_samples=4, num_frames=16, batch_size=3072,
         micro_batch_size=24),
    dict(name='b', steps=500, lr=1e-4, flow_lr=3e-4, tau_samples=1, num_frames=64, batch_size=768),
]  # fmt: skip
BACKBONE = dict(type='CausalViT', img_size=256, patch_size=16, tubelet_size=2)


def test_tokens_of_the_published_clips():
    assert tokens_per_clip(BACKBONE, 16) == 2048
    assert tokens_per_clip(BACKBONE, 64) == 8192
    assert tokens_per_clip(dict(type='CausalViT'), 16) == 2048  # the class's defaults


def test_rows():
    first, second, total = (
        dict(zip(COLUMNS, row, strict=True))
        for row in stage_rows(StageTable(STAGES), world_size=96, backbone=BACKBONE)
    )
    assert first['lr'] == first['flow lr'] == '0.0001 -> 0.0005'
    assert first['per process'] == '16 x 2'
    assert first['clips'] == '3,072,000'
    assert first['tokens'] == '6.3B'
    assert second['first step'] == '1,001'
    assert second['flow lr'] == '0.0003'
    assert second['per process'] == '8 x 1'
    assert total['steps'] == '1,500'
    assert total['clips'] == '3,456,000'


def test_without_an_encoder_tokens_are_left_out():
    assert all(row[-1] == '' for row in stage_rows(StageTable(STAGES), 1))


def test_a_config_without_a_table():
    with pytest.raises(ValueError, match=r'some.py has no stage table'):
        stage_table_of(Config(dict(train_cfg=dict(by_epoch=True))), 'some.py')
    assert len(stage_table_of(Config(dict(train_cfg=dict(stages=STAGES))), 'x')) == 2


def test_rendering_keeps_every_column():
    console = Console(file=io.StringIO(), width=200)
    console.print(render(stage_rows(StageTable(STAGES), 1, BACKBONE), 'title'))
    text = console.file.getvalue()
    assert all(name in text for name in (*COLUMNS, 'title', '0.0001 -> 0.0005'))
