from pathlib import Path

import pytest

from nextvid_mm.demo.run import PretrainingError


@pytest.fixture
def asked(monkeypatch):
    """What the demo was asked to do."""
    asked = []
    monkeypatch.setattr('nextvid_mm.demo.run.run_demo', lambda *words: asked.append(words))
    return asked


def test_options_are_handed_on_as_they_are(call, asked, tmp_path, monkeypatch):
    monkeypatch.setattr('nextvid_mm.config_files.home_folder', lambda: tmp_path / 'home')
    (tmp_path / 'home').mkdir()
    assert call('demo', '--seeds', 1, 2, '--cfg-options', 'a.b=1', 'c=2') == 0
    assert Path.cwd() == tmp_path / 'home'
    assert call('demo', '--work-dir', 'mine') == 0
    assert asked[0] == (tmp_path / 'home/work_dirs/demo', [1, 2], ['a.b=1', 'c=2'])
    assert asked[1] == (tmp_path / 'mine', [0], [])


def test_a_failed_pretraining_is_one_line(call, monkeypatch, tmp_path):
    def fail(*arguments):
        raise PretrainingError('pretraining ended with exit code 1')

    monkeypatch.setattr('nextvid_mm.demo.run.run_demo', fail)
    said = call('demo', '--work-dir', tmp_path / 'work')
    assert said == 'demo: error: pretraining ended with exit code 1'
