"""The demo end to end at the smallest scale."""

import json

import pytest
from rich.console import Console

from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.demo.run import ROWS, DemoResult, PretrainingError, make_table, pretrain, run_demo


def test_the_table_has_every_row_each_seed_chance_and_the_gain():
    results = [
        DemoResult(
            seed,
            dict(zip(ROWS, (70.0 + seed, 50.0, 9.0), strict=True)),
            {},
            {},
            dict(zip(ROWS, (66.0, 60.5, 66.0), strict=True)),
        )
        for seed in (0, 1)
    ]
    console = Console(width=100, record=True, file=open('/dev/null', 'w'))  # noqa: SIM115
    console.print(make_table(results, dict(how=12, what=11)))
    text = console.export_text()
    for expected in (*ROWS, 'seed 0', 'seed 1', '71.0', '8.3', '9.1', '+20.0', '+21.0', '+5.5'):
        assert expected in text


def test_a_failed_pretraining_names_its_command_and_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr('nextvid_mm.demo.run.project_folder', lambda: tmp_path)
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools/train.py').write_text("print('train: error: no')\nraise SystemExit(3)\n")
    message = (
        rf'exit code 3, see above and {tmp_path}/seed_1/train\.log; the command was: .*tools/train'
        r'\.py .*--seed 1 --resume --cfg-options model\.neck\.depth=2\. Other --cfg-options need'
    )
    with pytest.raises(PretrainingError, match=message):
        pretrain(tmp_path / 'seed_1', 1, ['model.neck.depth=2'])
    assert (tmp_path / 'seed_1/train.log').read_text() == 'train: error: no\n'


@pytest.mark.slow
def test_the_demo_runs_from_data_to_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [f'train_cfg.stages.{stage}.steps=2' for stage in range(4)]
    options += [f'train_cfg.stages.{stage}.batch_size=4' for stage in range(4)]
    options += ['model.neck.depth=2']  # the pictures must come from this model, too
    results = run_demo(
        tmp_path / 'work',
        seeds=[0],
        options=options,
        spec=DemoSpec(
            num_train=48, num_val=24, num_images=22, num_val_images=11, probe_clips_per_class=2
        ),
        probe_options={'train_cfg.max_epochs': 2},
    )
    assert set(results[0].top1) == set(ROWS)
    top1, what = results[0].top1, results[0].what
    assert all(0 <= value <= 100 for value in (*top1.values(), *what.values()))
    assert what['pretrained, single frame'] == what['pretrained']
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
