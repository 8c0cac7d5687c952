"""The comparisons of the probe protocol, on tiny videos."""

import pytest
from probe_run import make_videos, probe_run, save_encoder

from benchmarks.probe_runs import compare_cached, compare_grid


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp('probe')
    make_videos(root / 'data')
    return probe_run(root / 'data', root / 'run'), save_encoder(root / 'encoder.pth')


def test_the_grid_is_compared_with_its_fixed_member_alone(run):
    config, encoder = run
    report = compare_grid(config, encoder, repeats=2)
    grid, alone = report.rows
    assert (grid['what'], alone['what']) == ('grid of 4', 'one probe')
    assert alone['over one probe'] == 1.0
    assert grid['median s'] > 0
    assert len(grid['seconds']) == 2


def test_online_and_cached_training_are_timed_and_evaluated(run):
    config, encoder = run
    report = compare_cached(config, encoder, epochs=2, seeds=(0,))
    assert [row['probes'] for row in report.rows] == [4, 1]
    for row in report.rows:
        assert row['times'] == pytest.approx(row['online s'] / row['cached s'])
        assert all(0 <= row[f'{name} top-1'] <= 100 for name in ('online', 'cached'))
    notes = [note.split(':')[0] for note in report.notes]
    assert notes == [f'{how}, {n} probe(s)' for n in (4, 1) for how in ('online', 'cached')]
