"""When a process dies, torchrun starts all again, and the run ends as if nothing had happened.

The agents are those of ``torchrun``, started by forks: two of them stand for two machines.
"""

import os
import subprocess
import sys

import pytest
import torch
from processes import free_port, run, spawn, wait
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from toy_training import KillHook, read_records, train

SETTINGS = {
    'default_hooks.checkpoint.max_keep_ckpts': -1,
    'launcher': 'pytorch',
    'default_hooks.checkpoint.interval': 2,
    'default_hooks.checkpoint.save_last': True,
}
LAST = 'iter_16.pth'
# Agents start threads and fork; a worker of pytest-xdist has the threads of all tests before.
IN_WORKER = 'PYTEST_XDIST_WORKER' in os.environ
alone = pytest.mark.skipif(IN_WORKER, reason='run in an interpreter of its own, below')


def _work(path, kills):
    """One process of a run that is killed: rank and step by number of the attempt."""
    torch.set_num_threads(1)
    attempt = int(os.environ['TORCHELASTIC_RESTART_COUNT'])
    rank, step = kills[attempt] if attempt < len(kills) else (None, None)
    hooks = [KillHook(step)] if int(os.environ['RANK']) == rank else []
    train(path, *hooks, resume=attempt > 0, **SETTINGS)
    torch.distributed.destroy_process_group()


def _agent(node, nodes, each, port, path, kills):
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=each,
        run_id='of the test',
        rdzv_backend='c10d',
        rdzv_endpoint=f'127.0.0.1:{port}',
        rdzv_configs=dict(is_host=node == 0),
        local_addr='127.0.0.1',
        max_restarts=len(kills),
        monitor_interval=0.05,
        start_method='fork',
    )
    elastic_launch(config, _work)(path, kills)


def launch(path, nodes, each, kills):
    port = free_port()
    agents = [spawn(_agent, node, nodes, each, port, path, kills)[0] for node in range(nodes)]
    return wait(agents, timeout=240)


def _whole(path):
    train(path, **SETTINGS)


@alone
@pytest.mark.parametrize(('nodes', 'each', 'kills'), [(1, 4, [(2, 5)]), (2, 2, [(3, 7)])])
def test_a_run_goes_on_after_one_of_four_processes_was_killed(tmp_path, nodes, each, kills):
    assert run(_whole, tmp_path / 'whole', world_size=4) == [0] * 4
    assert launch(tmp_path / 'killed', nodes, each, kills) == [0] * nodes
    one, two = (torch.load(tmp_path / x / LAST, weights_only=True) for x in ('whole', 'killed'))
    for name, value in one['state_dict'].items():
        assert torch.equal(two['state_dict'][name], value), name
    records = [read_records(tmp_path / x / 'records.jsonl') for x in ('whole', 'killed')]
    assert records[0] == records[1]


@alone
def test_the_number_of_processes_may_change(tmp_path):
    """From four to two: the batches divide, and the run goes on from where it was."""
    assert 9 in run(_part, tmp_path, world_size=4)
    assert run(_rest, tmp_path, world_size=2) == [0, 0]
    assert (tmp_path / LAST).exists()


def _part(path):
    train(path, KillHook(6), **SETTINGS)


def _rest(path):
    train(path, resume=True, **SETTINGS)


@pytest.mark.skipif(not IN_WORKER, reason='run above')
def test_all_of_this_in_an_interpreter_of_its_own():
    environment = {key: value for key, value in os.environ.items() if 'PYTEST' not in key}
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '-p', 'no:xdist']
    done = subprocess.run(
        [*command, __file__], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert '3 passed' in done.stdout
