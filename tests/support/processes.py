"""Runs a function in forked processes that can be killed, or that form a gloo group.

A fork costs a tenth of a second where a new interpreter costs ten; it needs that the test process
has started no threads of its own, which one thread for torch guarantees.
"""

import contextlib
import multiprocessing
import os
import random
import socket
import sys
import time
import traceback

import torch


def spawn(target, *args, world_size=1):
    """Start ``target(*args)`` in ``world_size`` processes; return them without waiting.

    With more than one, each finds the variables that torchrun sets.
    """
    context = multiprocessing.get_context('fork')
    port = free_port()
    processes = [
        context.Process(target=_child, args=(rank, world_size, port, target, args))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    return processes


def run(target, *args, world_size=1, timeout=120):
    """Run to the end; return the exit codes."""
    processes = spawn(target, *args, world_size=world_size)
    return wait(processes, timeout)


def wait(processes, timeout=120):
    # Not join(timeout): that also waits for the loader workers a killed process leaves behind.
    end = time.monotonic() + timeout
    while any(process.exitcode is None for process in processes):
        if time.monotonic() > end:
            for process in processes:
                process.kill()
            raise TimeoutError(f'a child process did not end within {timeout} s')
        time.sleep(0.01)
    return [process.exitcode for process in processes]


def free_port():
    """A port that no connection gets by itself, which one of 0 would while a group starts."""
    draw = random.SystemRandom()  # tests seed the other
    while True:
        port = draw.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(('127.0.0.1', port))
            return port


def _child(rank, world_size, port, target, args):
    torch.set_num_threads(1)
    if world_size > 1:
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world_size),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=str(port),
        )
    try:
        target(*args)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
