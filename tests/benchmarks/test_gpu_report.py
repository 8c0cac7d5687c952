"""Every part of the report about a GPU runs, on a CPU at the sizes of a test."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import gpu_report
from benchmarks.cells import PLACES, WAYS, Cell, Grid, grid
from benchmarks.cli import parse, run
from benchmarks.equality import Case, compare_resumed, compare_ways, difference
from benchmarks.gpu_report import GpuReport, Scale, places_of
from benchmarks.report import Report
from benchmarks.workload import Workload

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Everything once."""
    folder = tmp_path_factory.mktemp('gpu')
    report = GpuReport(folder, 'cpu', 60, Scale.tiny())
    report.run()
    torch._dynamo.reset()
    return report


def test_all_parts_are_in_both_files(made):
    assert not made.failed
    stored = json.loads((made.folder / 'gpu.json').read_text())
    names = ['ways', 'resumed', 'peaks', 'steps', 'bounds', 'decoding']
    assert list(stored['reports']) == list(stored['seconds']) == names
    assert all(stored['reports'][name]['rows'] for name in names)
    page = (made.folder / 'gpu.md').read_text()
    assert all(f'## {report.title}' in page for report in made.reports.values())
    assert 'Not a GPU' in page


def test_every_way_is_the_reference(made):
    rows = made.reports['ways'].rows
    assert {row['equal'] for row in rows} == {'yes'}
    assert {row['what'] for row in rows} >= {'CausalBlock', 'DiTBlock', 'losses', 'latents'}
    compiled = {row['what'] for row in rows if 'compiled' in row['way'] and row['gradients']}
    assert compiled == {'CausalBlock', 'ContextBlock', 'DiTBlock', 'losses'}
    assert any(row['what'] == 'latents' and row['way'] == 'compiled' for row in rows)
    assert not any('no time' in note for note in made.reports['ways'].notes)
    assert [row['bit for bit'] for row in made.reports['resumed'].rows] == ['yes', 'yes']


def test_steps_stand_beside_bound_and_plan(made):
    """FlexAttention cannot train on a CPU: such cells fail, are named, and stop nothing."""
    rows = made.reports['steps'].rows
    states = {(row['attention'], row['state']) for row in rows}
    assert states == {('sdpa', 'ok'), ('flex', 'failed')}
    assert len({row['loss'] for row in rows if row['state'] == 'ok'}) == 1
    bounds = made.reports['bounds'].rows
    assert len(bounds) == sum(row['state'] == 'ok' for row in rows)
    assert all(row['over it'] > 0 and row['planned'] > 0 for row in bounds)
    plain, saving = (
        next(r['planned'] for r in bounds if r['with_cp'] == how) for how in ('False', 'products')
    )
    assert saving < plain
    assert made.reports['decoding'].rows[0]['cores for a GPU'] > 0


def test_the_most_telling_cells_come_first():
    cells = grid()
    assert len(cells) == len(set(cells)) == len(PLACES) * len(WAYS)
    assert cells[0] == Cell('large', 16, 16, True, 'sdpa', False)
    assert {(c.size, c.frames) for c in cells[:12]} >= set(PLACES[:3])
    assert {c.clips for c in cells if c.frames == 64} == {4}
    assert {c.size for c in places_of(['huge'], [64])} == {'huge'}


class _Clock:
    """Every question takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1
        return self.now


def test_what_no_time_is_left_for_is_named(monkeypatch):
    clock, cells, notes = _Clock(), grid([('tiny', 4)], 1), []

    def measure(self, cell, end):
        clock.now += 40 if cell.compiled else 15
        return dict(state='ok')

    monkeypatch.setattr(Grid, 'measure', measure)
    runner = Grid(Workload('tiny', 4), 'cpu', clock=clock)
    report = runner.measure_all(cells, 130, notes.append)
    # Compiled, eager, compiled, eager: what is left then is too little for either kind.
    assert [row['blocks'] for row in report.rows] == ['compiled', 'eager', 'compiled', 'eager']
    assert len(notes) == len(report.rows)
    assert f'no time for {len(cells) - len(report.rows)} cells: tiny 4' in report.notes[-1]
    assert runner.expected(cells[0]) == 41.0
    assert runner.expected(replace(cells[0], frames=64)) == 41.0, 'of the most similar ones'


def test_ways_take_no_longer_than_they_may(monkeypatch):
    clock, done = _Clock(), []

    def work(way, seconds):
        def run():
            clock.now += seconds
            done.append(way)
            return [torch.ones(1)], [torch.ones(1)]

        return run

    def cases(*_):
        ones = [torch.ones(1)], [torch.ones(1)]
        for way, rank in (('late', 1), ('first', 0), ('never', 2), ('neither', 2)):
            yield Case('block', way, torch.float32, work(way, 70), ones, True, rank)
        yield Case('other', 'small', torch.float32, work('small', 10), ones, True, 3)
        yield Case('block', 'eager', torch.float32, work('eager', 1), ones)

    for name in ('_attention', '_losses', '_latents'):
        monkeypatch.setattr(f'benchmarks.equality.{name}', lambda *_: iter(()))
    monkeypatch.setattr('benchmarks.equality._blocks', cases)
    report = compare_ways('cpu', small=True, seconds=200, clock=clock)
    assert done == ['eager', 'first', 'late', 'small'], 'what is of no known length by a guess'
    assert report.notes == [
        '4 of 4 are equal',
        'no time for 2 ways: block, never, torch.float32; block, neither, torch.float32',
    ]


def test_less_memory_takes_fewer_clips(monkeypatch):
    tried = []

    def measure(self, cell):
        tried.append(cell.clips)
        if cell.clips > 2:
            raise torch.OutOfMemoryError('CUDA out of memory')
        return dict(state='ok')

    monkeypatch.setattr(Grid, '_measure', measure)
    runner, cell = Grid(Workload('tiny', 4), 'cpu'), Cell('tiny', 4, 8, False, 'sdpa', False)
    assert runner.measure(cell) == dict(clips=2, state='ok')
    assert tried == [8, 4, 2]
    monkeypatch.setattr(Grid, '_measure', lambda *_: 1 / 0)
    assert runner.measure(cell)['error'].startswith('ZeroDivisionError')
    monkeypatch.setattr(Grid, '_measure', lambda *_: bytearray(1 << 62))
    assert runner.measure(cell) == dict(clips=1, state='no memory for 1')
    hasty = Grid(Workload('tiny', 4), 'cpu', clock=_Clock())
    told = 'no memory for 4, no time for fewer'
    assert hasty.measure(cell, end=3.5) == dict(clips=4, state=told)


def test_differences_are_found():
    """Of other numbers, and of one that is none."""
    a = torch.tensor([1.0, 2.0])
    assert difference([a, a], [a, a + torch.tensor([0.0, 0.2])]) == pytest.approx(0.2 / 2.2)
    assert difference([a * float('nan')], [a]) == float('inf')


def test_a_wrong_way_is_told(monkeypatch):
    monkeypatch.setattr('benchmarks.equality._blocks', lambda *_: iter(()))
    monkeypatch.setattr('benchmarks.equality._losses', lambda *_: iter(()))
    monkeypatch.setattr('benchmarks.equality._latents', lambda *_: iter(()))
    monkeypatch.setattr(
        'benchmarks.equality.prefix_attention', lambda q, k, v, num_blocks, **_: 1.2 * q
    )
    report = compare_ways('cpu', small=True)
    assert {row['equal'] for row in report.rows} == {'NO'}
    assert report.notes[0] == f'0 of {len(report.rows)} are equal'


def test_a_part_that_fails_stops_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError('no kernel image is available\nfor this device')

    monkeypatch.setattr(gpu_report, 'compare_ways', fail)
    monkeypatch.setattr(gpu_report, 'compare_resumed', lambda *_: Report('again', {}, ('run',)))
    monkeypatch.setattr(GpuReport, '_decoding', fail)
    report = GpuReport(tmp_path, 'cpu', 1e-6, replace(Scale.tiny(), cells=()))
    report.run()
    assert report.failed['ways'] == 'RuntimeError: no kernel image is available'
    assert set(report.failed) == {'ways', 'decoding'}
    assert '**ways failed: RuntimeError' in (tmp_path / 'gpu.md').read_text()


def test_without_a_gpu_it_says_so():
    args = parse(['gpu', '--device', 'cpu'])
    with pytest.raises(ValueError, match='this is for a CUDA GPU; --tiny runs every part'):
        run(args)


def test_the_file_is_a_command_too(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['benchmarks/gpu.py', '--help'])
    monkeypatch.setattr(sys, 'path', ['benchmarks', *sys.path])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'benchmarks/gpu.py'), run_name='__main__')
    assert 'Ten minutes on a GPU' in capsys.readouterr().out


def test_a_run_without_its_moments_is_not_resumed(monkeypatch):
    monkeypatch.setattr(torch.optim.Optimizer, 'load_state_dict', lambda *_: None)
    rows = compare_resumed(Workload('tiny', 4, 1), 'cpu', 1).rows
    assert [(row['run'], row['bit for bit']) for row in rows] == [
        ('again', 'yes'),
        ('resumed', 'no'),
    ]
