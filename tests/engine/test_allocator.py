"""Memory that is freed stays with the process."""

import resource
import subprocess
import sys

import pytest
import torch

from nextvid_mm.engine import allocator

FAULTS = """
import resource, sys, torch
from nextvid_mm.engine.allocator import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
def step():
    return [torch.ones(1 << 20) for _ in range(8)]
for _ in range(2):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the GNU C library')
def test_a_step_takes_the_pages_that_the_last_one_has_left():
    def faults(keep):
        command = [sys.executable, '-c', FAULTS, keep]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults('keep') < 100 < faults('let go')


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, 'platform', 'darwin')
    assert not allocator.keep_freed_memory()
    with allocator.freed_memory_kept():
        pass


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='the GNU C library')
def test_buffers_are_touched_once():
    """Pages that the system has to clear in ten rounds of the same buffers."""

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            parts = [torch.ones(10 << 20) for _ in range(2)]  # of 40 MB
            del parts
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with allocator.freed_memory_kept():
        faults()
        kept = faults()
    assert 10 * kept < faults()
