"""The demo end to end at the smallest scale."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from nextvid_mm.datasets.demo import DemoSpec
from nextvid_mm.demo import ROWS, DemoResult, make_table, run_demo


def test_the_table_has_every_row_each_seed_chance_and_the_gain():
    results = [
        DemoResult(seed, dict(zip(ROWS, (70.0 + seed, 50.0, 9.0), strict=True)), {}, {})
        for seed in (0, 1)
    ]
    console = Console(width=100, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(make_table(results, num_classes=12))
    text = console.export_text()
    for expected in (*ROWS, 'seed 0', 'seed 1', '71.0', '8.3', '+20.0', '+21.0'):
        assert expected in text


@pytest.mark.slow
def test_the_demo_runs_from_data_to_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [f'train_cfg.stages.{stage}.steps=2' for stage in range(4)]
    options += [f'train_cfg.stages.{stage}.batch_size=4' for stage in range(4)]
    results = run_demo(
        Path(__file__).resolve().parents[1],
        tmp_path / 'work',
        seeds=[0],
        options=options,
        spec=DemoSpec(num_train=48, num_val=24, num_images=4, probe_clips_per_class=2),
        probe_options={'train_cfg.max_epochs': 2},
    )
    assert set(results[0].top1) == set(ROWS)
    assert all(0 <= value <= 100 for value in results[0].top1.values())
    assert (tmp_path / 'work/seed_0/generated.png').stat().st_size > 1000
    assert json.loads((tmp_path / 'work/results.json').read_text())[0]['seed'] == 0
    page = (tmp_path / 'work/report.html').read_text()
    for title in (
        'Results',
        'Training',
        'What the features know',
        'Generated next frames',
        'Streaming',
    ):
        assert f'<h2>{title}</h2>' in page
    assert len(page) < 5e6
