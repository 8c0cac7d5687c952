"""Stopped at random moments and started again, a run ends as if nothing had happened.

The true Runner on the toy model, in forks; ``STOPS=200`` asks for more than the few of every day.
``python -m benchmarks.stops`` does the same with the tools themselves.
"""

import os
import random
import signal
import sys
import time

import torch
from processes import run, spawn, wait
from toy_training import RecordHook, read_records, train

from nextvid_mm.cli import errors_in_one_line
from nextvid_mm.run_folder import LOCK, own_folder
from nextvid_mm.stopping import Stopped

STOPS = int(os.environ.get('STOPS', '5'))
CODES = dict(SIGINT=130, SIGTERM=143, SIGUSR1=143, SIGHUP=143, SIGKILL=-9)
SETTINGS = {
    'default_hooks.checkpoint.interval': 3,
    'default_hooks.checkpoint.save_last': True,
    'train_dataloader.num_workers': 1,
}
LAST = 'iter_16.pth'


class Sleep(RecordHook):
    def __init__(self):
        super().__init__(os.devnull)

    def after_micro_batch(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(0.01)


def _tool(path):
    """What tools/train.py does around the Runner, in a session of its own."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with errors_in_one_line('train'), own_folder(path):
            runner = train(path, Sleep(), resume=True, **SETTINGS)
            for hook in runner.hooks:
                if getattr(hook, 'stopped_by', None):
                    raise Stopped(hook.stopped_by)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        os._exit(end.code if isinstance(end.code, int) else 1)


def _whole(path):
    train(path, **SETTINGS)


def alive(session):
    """Processes of a session that have not ended."""
    found = []
    for name in filter(str.isdigit, os.listdir('/proc')):
        try:
            with open(f'/proc/{name}/stat') as file:
                state, _, _, of = file.read().rpartition(')')[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != 'Z':
            found.append(int(name))
    return found


def test_stops_at_random_moments(tmp_path):
    assert run(_whole, tmp_path / 'whole') == [0]
    reference = torch.load(tmp_path / 'whole' / LAST, weights_only=True)['state_dict']
    records = read_records(tmp_path / 'whole/records.jsonl')
    draw, number, refused = random.Random(STOPS), 0, 0
    for stop in range(STOPS):
        path = tmp_path / f'run{number}'
        (process,) = spawn(_tool, path)
        time.sleep(draw.uniform(0.05, 1.5))
        kind = draw.choice([*CODES, 'second run'])
        if kind == 'second run':
            running = (path / LOCK).exists()
            (second,) = spawn(_tool, path)
            codes = wait([process, second])
            refused += running and 1 in codes
            # On a busy machine the second may be there first.
            assert codes in ([0, 0], [0, 1], [1, 0]), (stop, codes)
        else:
            os.kill(process.pid, getattr(signal, kind))
            (code,) = wait([process])
            assert code in (0, CODES[kind], -getattr(signal, kind)), (stop, kind, code)
        end = time.monotonic() + 10
        while left := alive(process.pid):
            assert time.monotonic() < end, (stop, kind, left)
            time.sleep(0.05)
        if (path / LAST).exists() or stop == STOPS - 1:
            assert run(_tool, path) == [0]
            state = torch.load(path / LAST, weights_only=True)['state_dict']
            assert all(torch.equal(state[name], value) for name, value in reference.items())
            assert read_records(path / 'records.jsonl') == records
            number += 1
    print(f'{STOPS} stops, {number} runs ended alike, {refused} second runs refused')
