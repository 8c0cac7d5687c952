"""The command lines, as a user runs them: each test starts real processes."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import free_port
from toy_training import config, read_records

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / 'tools/train.py'
ENVIRONMENT = os.environ | dict(
    PYTHONPATH=str(ROOT / 'tests/support'), PYTHON=sys.executable, OMP_NUM_THREADS='1'
)


@pytest.fixture
def toy(tmp_path):
    """A config file of the toy training that records its steps."""
    cfg = config(tmp_path / 'unused')
    cfg.custom_imports = dict(imports=['toy_training'])
    cfg.custom_hooks.append(dict(type='RecordHook', file=str(tmp_path / 'records.jsonl')))
    cfg.default_hooks.checkpoint.save_last = True
    cfg.log_level = 'INFO'
    cfg.pop('work_dir')
    path = tmp_path / 'toy.py'
    path.write_text('\n'.join(f'{key} = {value!r}' for key, value in cfg.to_dict().items()))
    return path


def start(*command, cwd):
    return subprocess.Popen(
        [str(part) for part in command],
        cwd=cwd,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process, timeout=240):
    output = process.communicate(timeout=timeout)[0]
    return process.returncode, output


def run(*command, cwd):
    return finish(start(*command, cwd=cwd))


def test_train_stop_by_signal_and_resume(toy, tmp_path):
    """SIGTERM ends the run with a checkpoint and exit code 143; --resume completes it."""
    slow = ['--cfg-options', 'train_cfg.stages.0.steps=100000']
    process = start(sys.executable, TRAIN, toy, *slow, cwd=tmp_path)
    records = tmp_path / 'records.jsonl'
    while not (records.exists() and records.read_text().count('\n') > 3):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == 143, output
    assert 'SIGTERM: saving and ending the run' in output
    last = 'train: stopped by SIGTERM. Saved: '
    assert output.splitlines()[-1].startswith(last)
    assert output.endswith('The same command with --resume goes on\n')
    (checkpoint,) = (tmp_path / 'work_dirs/toy').glob('iter_*.pth')
    steps = int(checkpoint.stem.partition('_')[2])
    assert len(read_records(records)) == steps
    longer = ['--cfg-options', f'train_cfg.stages.0.steps={steps + 2}']
    code, output = run(sys.executable, TRAIN, toy, '--resume', *longer, cwd=tmp_path)
    assert code == 0, output
    assert f'resumed epoch: 0, iter: {steps}' in output
    assert len(read_records(records)) == steps + 2 + 12


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Run a tool's ``main`` in this process, which saves the imports."""

    def call(tool, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', [str(part) for part in (tool, *arguments)])
        monkeypatch.setattr(sys, 'path', sys.path.copy())
        monkeypatch.setenv('LOCAL_RANK', '0')
        runpy.run_path(str(tool), run_name='__main__')

    return call


def test_mistakes_are_one_line(toy, tmp_path, call):
    for arguments, message in (
        ([tmp_path / 'absent.py'], 'absent.py does not exist'),
        ([toy, '--cfg-options', 'modle.depth=3'], "Did you mean 'model'"),
        ([toy, '--resume', 'nowhere.pth'], 'nowhere.pth: there is no such checkpoint'),
        ([toy, '--auto-scale-lr'], 'base_batch_size'),
    ):
        with pytest.raises(SystemExit, match=r'^train: error: ') as end:
            call(TRAIN, *arguments)
        assert message in str(end.value)


@pytest.mark.slow
def test_two_machines_with_two_processes_each(toy, tmp_path):
    """The documented multi-node command, both machines being this one."""
    script = ROOT / 'tools/dist_train.sh'
    processes, port = [], str(free_port())
    for rank in (0, 1):
        environment = dict(NNODES='2', NODE_RANK=str(rank), PORT=port)
        prefix = ['env', *(f'{key}={value}' for key, value in environment.items())]
        processes.append(start(*prefix, 'bash', script, toy, 2, cwd=tmp_path))
    results = [finish(process) for process in processes]
    assert [code for code, _ in results] == [0, 0], results
    assert 'batch 8 = 4 process(es) x 2 clips x 1' in ''.join(output for _, output in results)
    assert len(read_records(tmp_path / 'records.jsonl')) == 16


@pytest.mark.parametrize(
    'script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh']
)
def test_scripts_say_how_they_are_used(script, tmp_path):
    code, output = run('bash', ROOT / 'tools' / script, cwd=tmp_path)
    assert code == 2
    assert output.startswith('usage: ')


@pytest.mark.parametrize(
    ('tool', 'files'), [('train', ['a config.py']), ('test', ['a config.py', 'probe 1.pth'])]
)
def test_slurm_scripts_start_one_task_per_gpu(tool, files, tmp_path):
    """With an ``srun`` that prints its arguments."""
    fake = tmp_path / 'srun'
    fake.write_text('#!/bin/sh\necho "$PYTHONPATH"\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    settings = [f'PATH={tmp_path}:{os.environ["PATH"]}', 'GPUS=96', 'GPUS_PER_NODE=8']
    script = ROOT / f'tools/slurm_{tool}.sh'
    arguments = ['part', 'job', *files, '--seed', 1]
    code, output = run('env', *settings, 'bash', script, *arguments, cwd=tmp_path)
    assert code == 0
    lines = output.splitlines()
    assert lines[0].startswith(f'{ROOT}')
    assert {'--ntasks=96', '--ntasks-per-node=8', '--gres=gpu:8', '--job-name=job'} <= set(lines)
    called = lines[lines.index('-u') + 1 :]
    assert called == [f'{ROOT}/tools/{tool}.py', *files, '--launcher', 'slurm', '--seed', '1']


@pytest.fixture
def slurm(tmp_path):
    """A cluster whose ``srun`` ends with the codes in turn."""

    def slurm(*codes, **settings):
        turns = tmp_path / 'turns'
        turns.write_text('\n'.join(map(str, codes)))
        (tmp_path / 'srun').write_text(
            f'#!/bin/sh\necho "attempt $NEXTVID_RESTART_COUNT"\ncode=$(head -1 {turns})\n'
            f'sed -i 1d {turns}\nexit $code\n'
        )
        (tmp_path / 'scontrol').write_text('#!/bin/sh\necho scontrol "$@"\n')
        for name in ('srun', 'scontrol'):
            (tmp_path / name).chmod(0o755)
        words = [f'{key}={value}' for key, value in settings.items()]
        words.append(f'PATH={tmp_path}:{os.environ["PATH"]}')
        script = ROOT / 'tools/slurm_train.sh'
        return run('env', *words, 'bash', script, 'part', 'job', 'config.py', cwd=tmp_path)

    return slurm


def test_slurm_scripts_start_a_failed_run_again(slurm):
    code, output = slurm(137, 1, 0, FAST_SECONDS=0)
    assert code == 0
    assert [line for line in output.splitlines() if line.startswith('attempt')] == [
        'attempt 0',
        'attempt 1',
        'attempt 2',
    ]
    assert slurm(137, 137, 0, FAST_SECONDS=0, MAX_RESTARTS=1)[0] == 137
    assert slurm(1, 0)[0] == 1  # it has failed at once: the next time would be alike
    assert slurm(2, 0, FAST_SECONDS=0)[0] == 2


def test_slurm_scripts_put_a_stopped_run_back_into_the_queue(slurm):
    code, output = slurm(143, SLURM_JOB_ID=77)
    assert code == 143
    assert 'scontrol requeue 77' in output
    assert 'scontrol' not in slurm(143, SLURM_JOB_ID=77, REQUEUE=0)[1]
    assert 'scontrol' not in slurm(143)[1]


@pytest.mark.parametrize('script', ['slurm_train.sh', 'slurm_test.sh'])
def test_without_slurm_its_scripts_say_so(script, tmp_path):
    words = [f'PATH={tmp_path}', '/bin/bash', ROOT / 'tools' / script, 'a', 'b', 'c', 'd']
    (tmp_path / 'dirname').symlink_to('/usr/bin/dirname')
    code, output = run('/usr/bin/env', *words, cwd=tmp_path)
    assert code == 1
    assert 'error: there is no srun here' in output
    assert output.count('\n') == 1


def test_dist_train_tells_a_mistake_once(toy, tmp_path):
    script = ROOT / 'tools/dist_train.sh'
    code, output = run('bash', script, toy, 4, '--cfg-options', 'log_level=LOUD', cwd=tmp_path)
    assert code == 1
    assert output.startswith("train: error: --cfg-options log_level: found 'LOUD'")
    assert output.count('\n') == 1
    code, output = run('bash', script, toy, 'four', cwd=tmp_path)
    assert code == 2
    assert 'GPUS=four must be a number' in output


@pytest.mark.slow
def test_check_resume(toy, tmp_path):
    """Two SIGKILLs from outside, resumed: nothing differs."""
    options = ['train_cfg.stages.1.steps=200', 'train_dataloader.num_workers=1']
    command = [sys.executable, ROOT / 'tools/check_resume.py', toy, '--kills', 2]
    code, output = run(*command, '--cfg-options', *options, cwd=tmp_path)
    assert code == 0, output
    assert '2 kills, 213 steps, 1 process(es): 0 differences' in output
