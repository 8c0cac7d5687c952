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
