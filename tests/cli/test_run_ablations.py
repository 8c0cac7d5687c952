from nextvid_mm.cli.run_ablations import TABLES


def test_tables_are_those_of_the_package():
    from nextvid_mm.demo import ablations

    assert tuple(ablations.TABLES) == TABLES


def test_the_rows_are_listed(call, capsys):
    assert call('run_ablations', '--list') == 0
    assert 'table2_full' in capsys.readouterr().out


def test_an_unknown_row_is_one_line(call, tmp_path):
    said = call('run_ablations', '--rows', 'nothing', '--work-dir', tmp_path)
    assert said.startswith("run_ablations: error: compare has no rows ['nothing']")


def test_what_is_there_is_shown_and_nothing_is_run(call, capsys, tmp_path, monkeypatch):
    from nextvid_mm.demo import ablations
    from nextvid_mm.demo.ablations.results import result_file, write_result

    monkeypatch.setattr(ablations, 'run_rows', None)
    results = tmp_path / 'results'
    words = ('--table', 'compare', '--no-run', '--results', results, '--work-dir', tmp_path / 'w')
    said = call('run_ablations', *words)
    assert said.startswith(f'run_ablations: error: {results} holds no result of compare')
    budget = dict(steps_scale=1.0, options={}, probe_options={})
    setting = ablations.select_rows('compare', ['table2_full'])[0].setting
    for seed, how in ((0, 61.5), (1, 64.5)):
        scores = dict(how=how, what=70.0)
        moment = ablations.Moment(1500, 24000, 900.0, 950.0, {}, scores, scores, 30.0, 1.0)
        run = ablations.RunResult('table2_full', setting, seed, budget, [moment], {})
        write_result(result_file(results, run.row, seed), run)
    assert call('run_ablations', *words) == 0
    shown = capsys.readouterr().out
    assert 'full method' in shown
    assert 'goal' in shown
    assert 'not run' in shown
    assert '| full method | 2 | 63.0 ± 2.1 |' in (tmp_path / 'w/compare.md').read_text()
    said = call('run_ablations', *words, '--steps-scale', 0.5)
    assert 'is a run of another budget' in said


def test_no_jobs_would_wait_for_ever(call):
    assert '--jobs=0 must be a whole number of at least 1' in call('run_ablations', '--jobs', 0)
