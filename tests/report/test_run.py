import os
import shutil

import pytest
from mmengine.config import Config

from nextvid_mm.report.run import (
    find_masking,
    find_probe_results,
    find_runs,
    load_run,
    probe_config_of,
    read_scalars,
)


def test_a_resumed_run_is_one_series_and_the_later_log_counts(work_dir):
    scalars = read_scalars(work_dir)
    assert scalars['loss'].steps == [1, 2, 3, 4]
    assert scalars['loss'].values == [1.0, 2.0, 9.0, 4.0]
    assert 'note' not in scalars
    assert 'iter' not in scalars


def test_a_line_that_was_cut_is_left_out(work_dir):
    log = work_dir / '20260101_000000/vis_data/scalars.json'
    log.write_text(log.read_text() + '\n{"loss": 9.0, "lr": 0.')
    assert read_scalars(work_dir)['loss'].values == [1.0, 2.0, 9.0, 4.0]


def test_stages_come_from_the_config(work_dir):
    run = load_run(work_dir)
    assert run.stages == [('warm-up', 0, 2), ('stable', 2, 4)]
    assert run.checkpoint is None


def test_a_run_or_the_seeds_of_the_demo(work_dir, tmp_path):
    assert find_runs(work_dir) == [work_dir]
    for seed in (1, 0):
        shutil.copytree(work_dir, tmp_path / 'demo' / f'seed_{seed}')
    assert [run.name for run in find_runs(tmp_path / 'demo')] == ['seed_0', 'seed_1']


PROBE = "model = dict(type='nextvid_mm.ProbeRecognizer')\n"


def test_a_probe_trained_in_the_demos_folder_is_no_run(work_dir, tmp_path):
    """The default folder of configs/probe/demo.py is that of the demo."""
    demo = tmp_path / 'demo'
    shutil.copytree(work_dir, demo)
    (demo / 'config.py').rename(demo / 'demo.py')
    (demo / 'demo.py').write_text(PROBE)
    with pytest.raises(FileNotFoundError, match='of a probe and no pretraining.*--probe-results'):
        find_runs(demo)
    shutil.copytree(work_dir, demo / 'seed_0')
    assert find_runs(demo) == [demo / 'seed_0']


def test_of_a_folder_with_both_the_pretraining_counts(work_dir):
    later = work_dir / 'probe_config.py'
    later.write_text(PROBE)
    os.utime(later, (2e9, 2e9))
    assert find_runs(work_dir) == [work_dir]
    assert load_run(work_dir).config.name == 'a <b> config'


def test_records_of_probes_are_found_and_repetitions_are_not(work_dir):
    for folder in ('', 'probe', 'probe/repeated', 'seed_0/own'):
        (work_dir / folder).mkdir(parents=True, exist_ok=True)
        (work_dir / folder / 'probe_results.json').touch()
    found = [path.parent for path in find_probe_results(work_dir)]
    assert found == [work_dir / 'probe', work_dir, work_dir / 'seed_0/own']


def test_a_folder_without_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no logs'):
        find_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        find_runs(tmp_path / 'nowhere')


def test_a_run_without_its_config(work_dir):
    (work_dir / 'config.py').unlink()
    with pytest.raises(FileNotFoundError, match='no configuration'):
        load_run(work_dir)


def test_the_demos_probe_config_is_found(work_dir):
    assert probe_config_of(work_dir) is None
    (work_dir / 'probe.py').write_text('answer = 42\n')
    assert probe_config_of(work_dir).answer == 42


def test_masking_is_found_in_any_pipeline(trained_dir, work_dir):
    assert find_masking(load_run(trained_dir).config).grid_of((16, 16)) == (4, 4)
    assert find_masking(Config(dict(train_dataloader=dict(dataset=dict(pipeline=[]))))) is None
