"""Clips by source, and what they cost a training."""

from contextlib import nullcontext
from functools import partial

import pytest

from benchmarks import sources
from benchmarks.report import Report
from benchmarks.sources import compare_sources, measure_lists, provision


def test_every_source_gives_clips_and_says_what_it_fetched(monkeypatch):
    monkeypatch.setattr(sources, 'SECONDS', 2)
    monkeypatch.setattr(sources, '_write_videos', partial(sources._write_videos, videos=1))
    for server in ('web_server', 'bucket'):  # other tests start them
        monkeypatch.setattr(sources, server, lambda *_: nullcontext())
    report = compare_sources(clips=2, repeats=1)
    assert [row['source'] for row in report.rows] == ['files', 'tar files']
    assert all(row['share of the file'] == 1 for row in report.rows)
    assert all(row['processor ms'] > 0 for row in report.rows)
    assert len(report.notes) == 3


def test_a_training_needs_cores_and_bandwidth_by_its_pace():
    measured = Report('', {}, ())
    row = {'source': 'x', 'ms a clip': 60.0, 'processor ms': 50.0, 'fetching': '10%'}
    measured.add(**row, **{'KB fetched': 1000.0, 'requests': 2.0})
    (found,) = provision(measured, gpus=96, batch=32, step_ms=640).rows
    assert found['readers a GPU'] == 3  # 50 clips/s of 60 ms
    assert found['cores a GPU'] == pytest.approx(2.5)
    assert found['Gbit/s a GPU'] == pytest.approx(0.4)
    assert found['requests/s in all'] == pytest.approx(9600)
    assert found['Gbit/s in all'] == pytest.approx(38.4)
    assert found['what limits'] == 'decoding'


def test_a_list_is_measured():
    report = measure_lists(lines=30_000)
    assert [row['what'] for row in report.rows][:2] == ['read it into an index', 'open it']
