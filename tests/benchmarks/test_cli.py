import json

import pytest
import torch

from benchmarks.cli import COMMANDS, parse, run, workload_of
from benchmarks.workload import Workload


@pytest.mark.parametrize(
    'flags',
    [
        'step --frames 4 --batch 1 --repeats 1',
        'step --frames 4 --batch 1 --repeats 1 --components',
        'attention --frames 6 --batch 1 --repeats 1',
        'scale --values 4 6 --batch 1 --repeats 1',
        'scale --axis batch --values 1 2 --frames 4 --repeats 1',
        'stream --length 12 --window 4 --repeats 1',
        'probe --frames 4 --batch 2 --repeats 1 --classes 3',
        'flops',
        'roofline --sizes tiny --lengths 4 --batch 2 --images 1 --pixels 64 --target pixel',
        'masks --draws 32 --clips 2',
    ],
)
def test_commands_print_a_table_and_write_json(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('benchmarks.step.matmul_peak', lambda *_, **__: 1e11)
    file = tmp_path / 'out.json'
    reports = run(parse([*flags.split(), '--json', str(file)]))
    assert reports[0].title.split(',')[0] in ' '.join(capsys.readouterr().out.split())
    stored = json.loads(file.read_text())
    assert len(stored['rows']) == len(reports[0].rows) > 0
    assert len(list(tmp_path.iterdir())) == len(reports)


@pytest.mark.parametrize(
    ('flags', 'said'),
    [
        ('step --batch 0', 'argument --batch: 0 must be a whole number of at least 1'),
        ('decode --clips 0', 'argument --clips: 0 must be a whole number'),
        ('attention --groups 1 0', 'argument --groups: 0 must be a whole number'),
        ('step --warmup -1', 'argument --warmup: -1 must be a whole number'),
        ('flops --size base', 'unrecognized arguments: --size base'),
        ('frames --repeats 3', 'unrecognized arguments: --repeats 3'),
        ('sources --clock cpu', 'unrecognized arguments: --clock cpu'),
    ],
)
def test_flags_that_say_nothing_are_refused(flags, said, capsys):
    with pytest.raises(SystemExit):
        parse(flags.split())
    assert said in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_there_is_no_report_of_one(tmp_path):
    with pytest.raises(ValueError, match='--device cuda: PyTorch finds no CUDA GPU'):
        run(parse(['gpu', '--tiny', '--device', 'cuda', '--out', str(tmp_path / 'gpu')]))
    assert not (tmp_path / 'gpu').exists()


def test_flags_make_a_workload():
    flags = 'step --size base --frames 64 --batch 1 --pixels 256 --recompute light'
    args = parse(flags.split())
    assert workload_of(args) == Workload('base', 64, 1, 256, with_cp='light')


def test_every_command_says_what_it_does():
    assert set(COMMANDS) >= {'step', 'attention', 'loader', 'scale', 'stream', 'probe'}
    assert all(command.__doc__ for command in COMMANDS.values())
