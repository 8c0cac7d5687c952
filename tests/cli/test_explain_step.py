import re


def test_a_page_of_a_config(call, tmp_path, step_config, capsys):
    step_config.dump(tmp_path / 'tiny.py')
    assert call('explain_step', tmp_path / 'tiny.py', '--device', 'cpu', '--clips', 1) == 0
    page = tmp_path / 'work_dirs/tiny/step.html'
    assert capsys.readouterr().out.strip().endswith('work_dirs/tiny/step.html')
    assert '<h1>One step of tiny</h1>' in re.sub(r'\s+', ' ', page.read_text(encoding='utf-8'))


def test_a_mistake_is_one_line(call, tmp_path, step_config):
    step_config.dump(tmp_path / 'tiny.py')
    said = call('explain_step', tmp_path / 'tiny.py', '--device', 'cpu', '--step', 7)
    assert said == 'explain_step: error: step 7 is outside of the config’s 2 steps, from 0'
    assert 'does not exist' in call('explain_step', 'absent.py')
