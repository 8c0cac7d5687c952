"""The tool prints a line for every check and ends with what they say."""

from nextvid_mm import environment
from nextvid_mm.environment import Finding


def test_verdicts_and_exit_code(call, capsys, monkeypatch):
    monkeypatch.setattr(
        environment, 'findings', lambda config, work_dir: [Finding('x', 'good', '1')]
    )
    assert call('check_environment') == 0
    assert capsys.readouterr().out == 'good     x: 1\n'
    assert '--cfg-options change a config' in call('check_environment', '--cfg-options', 'a=1')
    bad = Finding('x', 'bad', '1', 'mend it')
    monkeypatch.setattr(environment, 'findings', lambda config, work_dir: [bad])
    assert call('check_environment', 'nextvid/vit-tiny_demo.py') == 1
    assert capsys.readouterr().out == 'bad      x: 1: mend it\n'
