"""Kills and comparisons find what is there to find; their real use is in tests/integration."""

import json
import random
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from nextvid_mm.cli.check_resume import (
    TraceLength,
    compare_checkpoints,
    compare_traces,
    kill_points,
    read_trace,
    run_to_end,
    run_with_kills,
    training_command,
)
from nextvid_mm.engine.hooks.records import TRACE

TRAIN = str(Path(__file__).resolve().parents[2] / 'tools/train.py')


def test_the_command_that_trains(parse):
    words = ['check_resume', 'config.py', '--cfg-options', 'a.b=1']
    command = training_command(parse(*words), Path('work'))
    assert command[:4] == [sys.executable, TRAIN, 'config.py', '--work-dir']
    assert command[-1] == 'a.b=1'
    command = training_command(parse(*words, '--processes', 2), Path('work'))
    assert command[:3] == [sys.executable, '-m', 'torch.distributed.run']
    assert command[5:8] == [TRAIN, 'config.py', '--launcher']


def test_a_failed_training_is_one_message(call, tmp_path):
    said = call('check_resume', 'absent.py', '--work-dir', tmp_path / 'work')
    assert said.startswith('check_resume: error: ')
    assert 'absent.py does not exist' in said


@pytest.fixture
def trainer(tmp_path):
    """A stand-in for training: 20 steps, saved after each, with a loss that depends on the step."""
    script = tmp_path / 'train.py'
    script.write_text(
        textwrap.dedent(f"""
        import json, pathlib, time
        work = pathlib.Path({str(tmp_path)!r})
        saved = work / 'step'
        for step in range(int(saved.read_text()) if saved.exists() else 0, 20):
            with open(work / {TRACE!r}, 'a') as file:
                file.write(json.dumps(dict(step=step + 1, losses=dict(a=step * 0.1))) + '\\n')
            time.sleep(0.01)
            # All or nothing, as a checkpoint: a kill may come in the middle.
            saved.with_suffix('.tmp').write_text(str(step + 1))
            saved.with_suffix('.tmp').rename(saved)
    """)
    )
    return [sys.executable, str(script)]


def test_kills_until_the_points_are_through(trainer, tmp_path):
    points, seen = [2, 7, 7, 15], []
    hits = run_with_kills(trainer, tmp_path, points, [0.0] * 4, tmp_path / 'log', seen.append)
    assert hits == seen
    assert len(hits) == 4
    assert all(hit >= point for hit, point in zip(hits, points, strict=True))
    steps = [line['step'] for line in read_trace(tmp_path)]
    assert set(steps) == set(range(1, 21))
    assert steps[-1] == 20


def test_a_run_that_ends_before_its_kill_is_no_kill(trainer, tmp_path):
    assert run_with_kills(trainer, tmp_path, [19], [2.0], tmp_path / 'log') == []


def test_a_command_that_fails_by_itself_is_reported_with_its_output(tmp_path):
    command = [sys.executable, '-c', 'raise SystemExit("no data")']
    with pytest.raises(ChildProcessError, match='ended with 1; the end of .*log:\nno data'):
        run_to_end(command, tmp_path / 'log')
    with pytest.raises(ChildProcessError, match='no data'):
        run_with_kills(command, tmp_path, [1], [0.0], tmp_path / 'log')


def test_points_cover_the_run():
    points = kill_points(100, 30, random.Random(0))
    assert points == sorted(points)
    assert points == kill_points(100, 30, random.Random(0))
    assert min(points) >= 1
    assert max(points) < 100
    assert {point * 4 // 100 for point in points} == {0, 1, 2, 3}


def test_a_trace_that_grows_is_counted_without_reading_it_again(tmp_path, monkeypatch):
    trace, path, parsed = TraceLength(tmp_path), tmp_path / TRACE, []
    assert (trace.look(), trace.step) == (0, 0)
    loads = json.loads
    monkeypatch.setattr(json, 'loads', lambda text: parsed.append(text) or loads(text))
    with path.open('w') as file:
        for text, lines, step in (
            ('{"step": 1}\n{"step": 2}\n', 2, 2),
            ('{"step"', 2, 2),
            (': 3}\n', 3, 3),
            ('', 3, 3),
            ('{"step": 2}\n', 4, 2),
        ):
            file.write(text)
            file.flush()
            assert (trace.look(), trace.step) == (lines, step)
    assert len(parsed) == 3
    assert TraceLength(tmp_path).look() == len(read_trace(tmp_path)) == 4


def _write(folder, losses):
    folder.mkdir()
    lines = [json.dumps(dict(step=step, losses=loss)) + '\n' for step, loss in losses]
    (folder / TRACE).write_text(''.join(lines))
    return folder


def test_traces_must_agree_also_where_a_step_was_trained_twice(tmp_path):
    theirs = _write(tmp_path / 'theirs', [(1, 0.5), (2, 0.25), (3, 0.125)])
    same = _write(tmp_path / 'same', [(1, 0.5), (2, 0.25), (2, 0.25), (3, 0.125)])
    assert compare_traces(same, theirs) == []
    other = _write(tmp_path / 'other', [(1, 0.5), (2, 0.25), (2, 0.26)])
    found = compare_traces(other, theirs)
    assert found[0] == 'step 3: never trained'
    assert found[1].startswith("step 2: {'step': 2, 'losses': 0.26}, not")


def test_checkpoints_are_compared_tensor_by_tensor(tmp_path):
    for name, weight, moment in (('a', 1.0, 2.0), ('b', 1.0, 2.0), ('c', 1.0, 2.5)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / 'iter_3.pth'
        state = {0: dict(step=torch.tensor(3.0), exp_avg=torch.full((2,), moment))}
        content = dict(
            state_dict=dict(w=torch.full((2,), weight)),
            optimizer=dict(state=state, param_groups=[dict(lr=0.1, params=[0])]),
        )
        torch.save(content, path)
        (tmp_path / name / 'last_checkpoint').write_text(str(path))
    assert compare_checkpoints(tmp_path / 'a', tmp_path / 'b') == []
    found = compare_checkpoints(tmp_path / 'a', tmp_path / 'c')
    assert found == ['optimizer.state.0.exp_avg differs']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--kills', -1], '--kills=-1 must be a whole number of at least 0'),
        (['--interval', 0], '--interval=0 must be a whole number of at least 1'),
        (['--processes', 0], '--processes=0 must be a whole number of at least 1'),
        ([], 'step.py has 1 step: a kill comes between two of them'),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(call, step_config, tmp_path, flags, message):
    step_config.train_cfg.stages[0].steps = 1
    step_config.dump(str(tmp_path / 'step.py'))
    assert message in call('check_resume', tmp_path / 'step.py', '--work-dir', 'check', *flags)
    assert not (tmp_path / 'check').exists()
