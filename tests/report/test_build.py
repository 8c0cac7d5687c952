"""Reports of whole runs, on a toy model and toy videos."""

import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from nextvid_mm.report import write_report
from nextvid_mm.report.build import load_some

TOOL = Path(__file__).resolve().parents[2] / 'tools/report.py'


def headings(path):
    return re.findall(r'<h2>(.*?)</h2>', path.read_text())


def test_a_run_without_a_checkpoint_shows_its_curves_and_settings(work_dir):
    page = write_report(work_dir, progress=False)
    assert page == work_dir / 'report.html'
    assert headings(page) == [
        'The paper’s figures',
        'Training',
        'Data, environment, configuration',
    ]
    assert 'a &lt;b&gt; config' in page.read_text()


def test_a_checkpoint_and_labelled_videos_give_the_whole_page(trained_dir, probe):
    config, batches = probe
    results = [dict(seed=0, top1=dict(pretrained=60.0, untrained=40.0), seconds={})]
    (trained_dir / 'results.json').write_text(json.dumps(results))
    output = trained_dir / 'other.html'
    page = write_report(trained_dir, output, config, batches, stream_frames=36, progress=False)
    assert page == output
    assert headings(page) == [
        'Results',
        'Training',
        'Masks',
        'What the features know',
        'Generated next frames',
        'Streaming',
        'Data, environment, configuration',
    ]
    text = page.read_text()
    for fact in ('Features by class, untrained', 'copying the last frame', 'with the key/value'):
        assert fact in text
    assert len(text) < 5e6


def test_results_need_the_probe_config_they_are_of(work_dir):
    (work_dir / 'results.json').write_text('[]')
    with pytest.raises(FileNotFoundError, match=r'probe\.py'):
        write_report(work_dir, progress=False)


def test_of_many_videos_an_even_choice_is_decoded(monkeypatch):
    import nextvid_mm.report.build as build

    monkeypatch.setattr(build, '_MAX_VIDEOS', 5)
    monkeypatch.setattr(build.DATASETS, 'build', lambda config: range(config['count']))
    monkeypatch.setattr(build, 'load_batches', lambda config: config)
    loaders = {
        f'{name}_dataloader': dict(dataset=dict(count=count))
        for name, count in (('train', 100), ('val', 5))
    }
    chosen = load_some(Config(loaders))
    indices = chosen.train_dataloader.dataset.indices
    assert len(set(indices)) == 5
    assert max(indices) > 20
    assert 'indices' not in chosen.val_dataloader.dataset


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_tool_prints_where_the_page_is(work_dir, monkeypatch, capsys):
    run_tool(monkeypatch, work_dir)
    assert capsys.readouterr().out.strip().endswith(str(work_dir / 'report.html'))


def test_a_work_dir_without_logs_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r'^report: error: .* holds no logs'):
        run_tool(monkeypatch, tmp_path)
