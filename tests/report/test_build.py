"""Reports of whole runs, on a toy model and toy videos."""

import json
import re
import runpy
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import DefaultScope
from probing import probe_config

from nextvid_mm.datasets.mixture import MixtureDataset
from nextvid_mm.datasets.video_writer import encode_video
from nextvid_mm.registry import TRANSFORMS
from nextvid_mm.report import write_report
from nextvid_mm.report.build import load_videos

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
    config, videos = probe
    results = [dict(seed=0, top1=dict(pretrained=60.0, untrained=40.0), seconds={})]
    (trained_dir / 'results.json').write_text(json.dumps(results))
    output = trained_dir / 'other.html'
    page = write_report(trained_dir, output, config, videos, stream_frames=36, progress=False)
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


@pytest.fixture
def videos(tmp_path):
    """A probe config for real files: five of each split, three classes."""
    for split in ('train', 'val'):
        for number in range(5):
            path = tmp_path / f'{split}{number}.mp4'
            noise = np.random.randint(0, 90, (8, 32, 32, 3)) + 70 * (number % 3)
            encode_video(path, noise.astype(np.uint8), 8)
        lines = [f'{split}{number}.mp4 {number % 3}\n' for number in range(5)]
        (tmp_path / f'{split}.txt').write_text(''.join(lines))
    pipeline = [
        dict(type='VideoInit'),
        dict(type='SampleClipByTime', fps=8, num_frames=8, test_mode=True),
        dict(type='VideoDecode'),
        dict(type='mmaction.Resize', scale=(16, 16)),
        dict(type='mmaction.FormatShape', input_format='NCTHW'),
        dict(type='mmaction.PackActionInputs'),
    ]

    def loader(split):
        inner = dict(type='ClipListDataset', ann_file=f'{split}.txt', data_root=str(tmp_path))
        dataset = dict(type='LabelledDataset', dataset=dict(inner, pipeline=pipeline))
        return dict(batch_size=2, num_workers=0, dataset=dataset)

    model = probe_config(backbone=None)
    return Config(
        dict(
            model=model,
            train_cfg=dict(max_epochs=1),
            train_dataloader=loader('train'),
            val_dataloader=loader('val'),
        )
    )


def test_of_many_videos_an_even_choice_is_decoded_batch_by_batch(videos):
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        few = load_videos(videos, 3)
        assert not isinstance(few, list)
        paths = [Path(d.path).name for batch in few for d in batch['data_samples']]
        assert len(set(paths)) == 3
        assert all(path.startswith('val') for path in paths)
        assert paths != [f'val{n}.mp4' for n in range(3)], 'not the first ones'
        everything = [len(batch['inputs']) for batch in load_videos(videos, 5)]
        assert everything == [2, 2, 1]
    assert 'indices' not in videos.val_dataloader.dataset.dataset


@TRANSFORMS.register_module(force=True)
class Slow(BaseTransform):
    """Uses up the time of a sample, or never ends."""

    def __init__(self, file, hangs=False):
        self.file, self.hangs = file, hangs

    def transform(self, results):
        if results['filename'].endswith(self.file):
            results['deadline'] = 0.0
            time.sleep(600 * self.hangs)
        return results


def test_a_video_that_takes_too_long_is_marked_and_not_waited_for(videos):
    dataset = videos.val_dataloader.dataset
    dataset.test_mode = True
    dataset.dataset.pipeline.insert(0, dict(type='Slow', file='val1.mp4'))
    with DefaultScope.overwrite_default_scope('nextvid_mm'):
        samples = [sample for batch in load_videos(videos, 5) for sample in batch['data_samples']]
    failures = [sample.get('failure') for sample in samples]
    assert failures.pop(1).startswith('timeout: ')
    assert failures == [None] * 4


def test_a_worker_that_hangs_ends_the_page_with_its_file(videos, monkeypatch):
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.1)  # at the end
    found = MixtureDataset.overdue_files
    monkeypatch.setattr(MixtureDataset, 'overdue_files', lambda self, limit=None: found(self, 0.1))
    videos.val_dataloader.num_workers = 1
    videos.val_dataloader.dataset.dataset.pipeline.insert(
        0, dict(type='Slow', file='val0.mp4', hangs=True)
    )
    with (
        DefaultScope.overwrite_default_scope('nextvid_mm'),
        pytest.raises(RuntimeError, match=r'has been reading \S*val0.mp4 for .* does not stop'),
    ):
        list(load_videos(videos, 5))


def test_videos_of_a_config_are_decoded_for_the_page(trained_dir, videos):
    page = write_report(
        trained_dir, probe_config=videos, stream_frames=36, progress=False, max_videos=4
    )
    text = page.read_text()
    assert 'Features by class, pretrained' in text
    assert 'No trained probe of this checkpoint was found' in text


def test_the_trained_probe_below_the_run_is_shown(trained_dir, probe, trained_probe):
    config, videos = probe
    page = write_report(trained_dir, None, config, videos, 36, progress=False)
    text = page.read_text()
    assert 'where the best attentive probe looks (87.5 % top-1' in text
    assert 'Attention of the probe over the video' in text


def test_nothing_in_a_work_directory_is_run(work_dir, tmp_path, monkeypatch):
    evil = tmp_path / 'evil'
    config = work_dir / 'config.py'
    fine = config.read_text()
    config.write_text(fine + f"x = open({str(evil)!r}, 'w')\n")
    with pytest.raises(SystemExit, match=r'^report: error: .*config\.py: its config, line 3, is'):
        run_tool(monkeypatch, work_dir)
    config.write_text(fine)
    (work_dir / 'probe.py').write_text(f"x = open({str(evil)!r}, 'w')\n")
    with pytest.raises(SystemExit, match=r'^report: error: .*probe\.py: its config, line 1, is'):
        run_tool(monkeypatch, work_dir)
    assert not evil.exists()


def test_wrong_numbers_and_images_are_refused(videos):
    with pytest.raises(ValueError, match='--max-videos=0 must be a whole number of at least 1'):
        load_videos(videos, 0)
    videos.model.static_frames = 16
    with pytest.raises(ValueError, match='static_frames=16 of the probe config .* are images'):
        load_videos(videos, 5)


def test_all_networks_go_to_the_device(trained_dir, probe, monkeypatch):
    moved, move = [], torch.nn.Module.to

    def spy(module, device, *args, **kwargs):
        moved.append((type(module).__name__, str(device)))
        return move(module, device, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, 'to', spy)
    config, videos = probe
    write_report(trained_dir, None, config, videos, 36, progress=False, device='cpu:0')
    networks = [entry for entry in moved if entry[0] in ('NextVid', 'ProbeRecognizer')]
    assert [name for name, _ in networks] == ['NextVid', 'ProbeRecognizer', 'ProbeRecognizer']
    assert {device for _, device in networks} <= {'cpu', 'cpu:0'}


def test_code_in_a_record_is_one_line(work_dir, write_record, monkeypatch, tmp_path):
    evil = tmp_path / 'evil'
    path = write_record(tmp_path / 'r.json', config=f'import os\nos.mkdir({str(evil)!r})\n')
    with pytest.raises(SystemExit, match=r'^report: error: .*r\.json: its config, line 1, is code'):
        run_tool(monkeypatch, work_dir, '--probe-results', path)
    assert not evil.exists()


def test_records_of_probes_are_shown(work_dir, write_record, tmp_path):
    write_record(work_dir / 'probe' / 'probe_results.json', top1=61.0)
    other = write_record(tmp_path / 'elsewhere.json', top1=42.5)
    page = write_report(work_dir, progress=False, probe_results=[other])
    assert headings(page)[:2] == ['Probes', 'The paper’s figures']
    assert '61.0' in page.read_text()
    assert '42.5' in page.read_text()


def run_tool(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['report.py', *map(str, arguments)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_the_tool_prints_where_the_page_is(work_dir, monkeypatch, capsys):
    run_tool(monkeypatch, work_dir)
    assert capsys.readouterr().out.strip().endswith(str(work_dir / 'report.html'))


def test_the_tool_takes_device_limit_and_records(work_dir, write_record, monkeypatch, tmp_path):
    path = write_record(tmp_path / 'probe_results.json', top1=61.0)
    run_tool(monkeypatch, work_dir, '--device', 'cpu', '--max-videos', 3, '--probe-results', path)
    assert '61.0' in (work_dir / 'report.html').read_text()
    with pytest.raises(SystemExit, match=r'^report: error: absent\.json: there is no such'):
        run_tool(monkeypatch, work_dir, '--probe-results', 'absent.json')


def test_a_work_dir_without_logs_is_one_line(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r'^report: error: .* holds no logs'):
        run_tool(monkeypatch, tmp_path)
