"""Which process is killed, and when not; the kills themselves take minutes."""

import json
import os
import random
import signal
import time

import pytest

from benchmarks import restarts


@pytest.fixture
def agent():
    """A process with four children that wait, and a number of its own."""
    pid = os.fork()
    if not pid:
        kids = []
        for _ in range(restarts.PROCESSES):
            kid = os.fork()
            if not kid:
                time.sleep(600)
                os._exit(0)
            kids.append(kid)
        for kid in kids:
            os.waitpid(kid, 0)
        os._exit(0)
    while len(restarts.workers(pid)) < restarts.PROCESSES:
        time.sleep(0.01)
    yield pid
    for each in (*restarts.workers(pid), pid):
        os.kill(each, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_one_of_four_is_killed(agent, tmp_path):
    before = restarts.workers(agent)
    assert restarts._kill_one(agent, tmp_path, random.Random(0), 0.1) == 1
    after = restarts.workers(agent)
    assert len(before) == 4
    assert len(set(before) - set(after)) == 1


def test_a_run_that_has_come_to_its_end_is_left_alone(agent, tmp_path):
    (tmp_path / 'trace.jsonl').write_text(json.dumps(dict(step=restarts.LAST_STEP)) + '\n')
    assert restarts._kill_one(agent, tmp_path, random.Random(0), 0.1) == 0
    assert len(restarts.workers(agent)) == 4
