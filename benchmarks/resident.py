"""Memory that this process holds (Linux with the GNU C library)."""

from __future__ import annotations

import ctypes
import gc
import os
import re
from pathlib import Path

import torch

# Share of the machine's memory from which on the allocator must not keep what is free.
CROWDED = 0.25


def resident_bytes() -> int:
    """Memory of this process now."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def give_back() -> None:
    """Return memory that is free, but that the allocator still holds, to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def make_room() -> None:
    """`give_back` in a process so large that what it holds may be what the next step lacks.

    Programs that take turns leave pieces in each other's way; a small one is better off with pages
    that it has already touched.
    """
    if resident_bytes() > CROWDED * os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'):
        give_back()


def start_measuring() -> int:
    """Forget the peak so far and return the bytes in use now.

    Free memory is given back first: to reuse it would not show.
    """
    give_back()
    Path('/proc/self/clear_refs').write_text('5')  # resets VmHWM
    return resident_bytes()


def peak_since(before: int, device: str) -> int:
    """Growth of the resident set's peak over ``before`` bytes; on a GPU, PyTorch's own peak."""
    if device == 'cpu':
        status = Path('/proc/self/status').read_text()
        return int(re.findall(r'VmHWM:\s+(\d+) kB', status)[0]) * 1024 - before
    return torch.cuda.max_memory_allocated(device)
