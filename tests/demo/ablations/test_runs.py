"""A table from data to results, at the smallest scale."""

import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config
from rich.progress import Progress

from nextvid_mm.demo.ablations import Budget, Row, run_rows, select_rows
from nextvid_mm.demo.ablations.runs import Run, follow
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.demo.run import PRETRAIN

ROOT = Path(__file__).resolve().parents[3]
TINY = dict(num_train=48, num_val=24, num_images=4, probe_clips_per_class=2)


def test_steps_are_scaled_and_never_none(tmp_path):
    row = select_rows('compare')[0]
    full, small = (
        Run(tmp_path, row, 0, Budget(scale, {'train_cfg.stages.0.steps': 100}))
        for scale in (1.0, 1e-6)
    )
    assert full.stages[0]['steps'] == 100
    assert [stage['steps'] for stage in small.stages] == [1] * len(full.stages)
    assert Run(tmp_path, Row('untrained', '', None), 0, Budget()).table_steps == 0


def test_a_folder_belongs_to_one_budget(tmp_path):
    (tmp_path / 'budget.json').write_text(
        '{"steps_scale": 2.0, "options": {}, "probe_options": {}}'
    )
    with pytest.raises(ValueError, match=r'another budget, .*2\.0.* another --work-dir'):
        run_rows(tmp_path, select_rows('compare'), [0], Budget())


def test_nothing_is_trained_in_no_steps():
    with pytest.raises(ValueError, match='steps_scale=0 must be larger than 0'):
        Budget(0)


def test_bars_follow_what_a_training_prints(tmp_path):
    script = "print('Iter(train) [ 20/50]'); print('else'); print('Iter(train) [50/50]'); exit(3)"
    log = tmp_path / 'log'
    with Progress(disable=True) as progress:
        tasks = [progress.add_task(name, total=50) for name in 'ab']
        assert follow([sys.executable, '-c', script], 1, log, progress, tasks) == 3
        assert [task.completed for task in progress.tasks] == [50, 50]
    assert log.read_text().splitlines()[1] == 'else'


@pytest.mark.slow
def test_rows_are_trained_probed_and_not_repeated(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    make_demo_data('data/demo', DemoSpec(**TINY))
    rows = select_rows('compare', ['extra_no-masking', 'untrained'])
    options = {f'train_cfg.stages.{stage}.batch_size': 2 for stage in range(4)}
    budget = Budget(1e-6, options, {'train_cfg.max_epochs': 1})
    results = run_rows(tmp_path / 'work', rows, [3], budget, jobs=2)
    assert [(r.row, r.seed, r.steps, r.clips) for r in results] == [
        ('extra_no-masking', 3, 4, 8),
        ('untrained', 3, 0, 0),
    ]
    assert all(0 <= r.top1 <= 100 for r in results)
    record = tmp_path / 'work/untrained/seed_3/result.json'
    record.write_text(json.dumps(json.loads(record.read_text()) | dict(top1=12.5)))
    again = run_rows(tmp_path / 'work', rows, [3], budget)
    assert (again[0], again[1].top1) == (results[0], 12.5)


def test_a_training_that_fails_says_where_its_log_is(tmp_path, monkeypatch):
    def fail(command, threads, log, progress, tasks):
        config = tmp_path / row.name / f'{row.name}.py'
        assert command[1:3] == [str(ROOT / 'tools/train.py'), str(config)]
        assert Config.fromfile(config).model == Config.fromfile(ROOT / PRETRAIN).model
        assert {'--resume', 'a.b=[1,2]', 'train_cfg.stages.3.steps=1'} < set(command)
        log.write_text('much\n' * 50 + 'the reason\n')
        return 1

    monkeypatch.setattr('nextvid_mm.demo.ablations.runs.follow', fail)
    row = select_rows('compare')[0]
    run = Run(tmp_path, row, 0, Budget(1e-6, {'a.b': [1, 2]}))
    with (
        Progress(disable=True) as progress,
        pytest.raises(
            ChildProcessError, match=r'code 1; the end of .*train\.log:\n(much\n)+the reason'
        ),
    ):
        run.pretrain(1, progress, progress.add_task('all'))
