"""Bars that move with what a training prints, and the lines that a person sees."""

import sys

import pytest
from rich.progress import Progress

from nextvid_mm.demo.following import follow

SCRIPT = """
print('11/27 00:27:12 - mmengine - INFO - Stage 1/4 "warm-up", step 1 of 100: lr 2e-4')
print('11/27 00:27:12 - mmengine - INFO - Iter(train) [ 20/50]  lr: 1')
print('else')
print('11/27 00:27:13 - mmengine - WARNING - replaced an unreadable sample: a.mp4')
print('Iter(train) [50/50]')
print('train: error: the reason')
raise SystemExit(3)
"""


@pytest.mark.parametrize('total', [50, None])
def test_bars_follow_what_a_training_prints(tmp_path, total):
    log, said = tmp_path / 'log', []
    with Progress(disable=True) as progress:
        tasks = [progress.add_task(name, total=total) for name in 'ab']
        command = [sys.executable, '-S', '-E', '-c', SCRIPT]
        assert follow(command, log, progress, tasks, threads=1, say=said.append) == 3
        assert [task.completed for task in progress.tasks] == [50, 50]
        assert [task.total for task in progress.tasks] == [50, 50]
    assert log.read_text().splitlines()[2] == 'else'
    assert said == [
        'Stage 1/4 "warm-up", step 1 of 100: lr 2e-4',
        'WARNING - replaced an unreadable sample: a.mp4',
        'train: error: the reason',
    ]
