"""A table from data to results, at the smallest scale."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from mmengine.config import Config
from rich.progress import Progress

from nextvid_mm.config_files import checked_config, find_config
from nextvid_mm.demo.ablations import TABLES, Budget, Row, run_rows, runs, select_rows
from nextvid_mm.demo.ablations.results import Moment, RunResult, read_result, result_file
from nextvid_mm.demo.ablations.runs import Run, at_demo_scale
from nextvid_mm.demo.data.generate import make_demo_data
from nextvid_mm.demo.data.spec import DemoSpec
from nextvid_mm.demo.run import PRETRAIN

ROOT = Path(__file__).resolve().parents[3]
TINY = dict(num_train=48, num_val=24, num_images=22, num_val_images=11, probe_clips_per_class=2)


def test_steps_are_scaled_and_never_none(tmp_path):
    row = select_rows('compare')[0]
    full, small = (
        Run(tmp_path, row, 0, Budget(scale, {'train_cfg.stages.0.steps': 100}))
        for scale in (1.0, 1e-6)
    )
    assert full.options['train_cfg.stages.0.steps'] == 100
    assert small.table_steps == 4
    assert Run(tmp_path, Row('untrained', '', None), 0, Budget()).table_steps == 0


def test_a_row_has_rates_steps_and_options_of_its_own(tmp_path):
    row = select_rows('compare')[0]
    mine = replace(row, options=(('a.b', 3),), rate=0.5, steps=2.0)
    plain, run = (Run(tmp_path, r, 0, Budget(0.5)) for r in (row, mine))
    assert run.table_steps == 2 * plain.table_steps
    assert run.options['a.b'] == 3
    assert run.options['train_cfg.stages.0.lr'] == [1e-4, 1e-3]
    assert run.options['train_cfg.stages.2.flow_lr'] == [1e-3, 1e-3]
    assert 'train_cfg.stages.1.flow_lr' not in run.options  # where it follows the other anyway
    assert not any(key.endswith('lr') for key in plain.options)


@pytest.mark.parametrize(
    'row',
    {row.name: row for rows in TABLES.values() for row in rows if row.config}.values(),
    ids=lambda row: row.name,
)
def test_every_row_s_own_settings_fit_its_config(row, tmp_path):
    """All rows, also those that nothing here trains: every key has a reader, and arrives."""
    run = Run(tmp_path, row, 0, Budget())
    path = tmp_path / 'row.py'
    path.write_text(at_demo_scale(find_config(row.config)))
    config = checked_config(str(path), run.options)
    for key, value in row.options:
        found = config
        for part in key.split('.'):
            found = found[int(part) if part.isdigit() else part]
        assert found == value, key


def test_a_folder_belongs_to_one_budget(tmp_path):
    (tmp_path / 'budget.json').write_text(
        '{"steps_scale": 2.0, "options": {}, "probe_options": {}}'
    )
    with pytest.raises(ValueError, match=r'another budget, .*2\.0.* another --work-dir'):
        run_rows(tmp_path, select_rows('compare'), [0], Budget())


class Recorded(Run):
    """A run whose training is a note, and whose probe is made up."""

    done: ClassVar = []

    def pretrain(self, progress, total):
        if self.seed == 13:
            raise ChildProcessError('the reason')
        self.done.append((self.row.name, self.seed))

    def probe(self, prober):
        moment = Moment(10, 160, 1.0, 2.0, {}, {}, dict(how=50.0, what=60.0), 9.0, 1.0)
        budget = dict(steps_scale=1.0, options={}, probe_options={})
        return RunResult(self.row.name, self.row.setting, self.seed, budget, [moment], {})


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(runs, 'Run', Recorded)
    monkeypatch.setattr(Recorded, 'done', [])
    return Recorded.done


def test_what_is_done_is_not_repeated(tmp_path, recorded):
    rows = select_rows('compare', ['table2_full', 'untrained'])
    found = run_rows(tmp_path / 'work', rows, [0, 1], Budget(), 2, tmp_path / 'results')
    assert sorted(recorded) == sorted((row.name, seed) for row in rows for seed in (0, 1))
    assert [(run.row, run.seed) for run in found] == [
        (row.name, seed) for seed in (0, 1) for row in rows
    ]
    result_file(tmp_path / 'results', 'untrained', 1).unlink()
    recorded.clear()
    again = run_rows(tmp_path / 'other', rows, [0, 1], Budget(), 1, tmp_path / 'results')
    assert recorded == [('untrained', 1)]
    assert again == found


def test_an_error_of_one_run_ends_all(tmp_path, recorded):
    with pytest.raises(ChildProcessError, match='the reason'):
        run_rows(tmp_path, select_rows('table4'), [13, 1], Budget(), jobs=1)
    assert recorded == []


@pytest.mark.slow
def test_rows_are_trained_and_probed_at_five_moments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_demo_data('data/demo', DemoSpec(**TINY), workers=0, quiet=True)
    rows = select_rows('compare', ['extra_no-masking', 'untrained'])
    options = {f'train_cfg.stages.{stage}.batch_size': 2 for stage in range(4)}
    budget = Budget(6e-3, options, {'train_cfg.max_epochs': 1})
    trained, untrained = run_rows(tmp_path / 'work', rows, [3], budget, jobs=2)
    assert [m.step for m in trained.moments] == [1, 2, 4, 6, 9]
    assert [m.clips for m in trained.moments] == [2, 4, 8, 12, 18]
    costs = [m.cpu_seconds for m in trained.moments]
    assert costs == sorted(costs)
    assert costs[0] > 0
    assert (untrained.last.step, untrained.last.cpu_seconds) == (0, 0.0)
    for moment in (*trained.moments, untrained.last):
        for scores in (moment.knn, moment.top1):
            assert set(scores) == {'how', 'what'}
            assert all(0 <= value <= 100 for value in scores.values())
    assert trained.last.losses['loss_flow'] > 0
    path = tmp_path / 'work/extra_no-masking_seed_3.json'
    assert path.stat().st_size < 10_000
    assert read_result(path) == trained
    assert json.loads(path.read_text())['budget']['steps_scale'] == 6e-3


def test_a_training_that_fails_says_where_its_log_is(tmp_path, monkeypatch):
    def fail(command, log, progress, tasks, threads):
        config = tmp_path / row.name / f'{row.name}.py'
        assert threads == 1
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
        run.pretrain(progress, progress.add_task('all'))
