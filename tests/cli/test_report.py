def test_the_older_name_of_a_flag_still_works(parse):
    for flag in ('--output', '--out'):
        assert str(parse('report', 'work', flag, 'page.html').out) == 'page.html'


def test_a_folder_without_logs_and_a_wrong_probe_config_are_one_line(call, tmp_path):
    assert 'holds no logs' in call('report', tmp_path)
    said = call('report', tmp_path, '--probe-config', 'absent.py')
    assert said.startswith('report: error: config file absent.py does not exist')
