"""Takes root's right to read everything, for a while: permission bits then mean something."""

import ctypes
import os
from contextlib import contextmanager

_VERSION_3 = 0x20080522  # of the kernel's capability interface
_OVERRIDE = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH


@contextmanager
def as_ordinary_user():
    """Permission bits apply to this process and those forked within; others need nothing."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; twice 32 bits of each
    assert libc.capget(header, before) == 0, os.strerror(ctypes.get_errno())
    lowered = (ctypes.c_uint32 * 6)(*before)
    lowered[0] &= ~_OVERRIDE
    assert libc.capset(header, lowered) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0, os.strerror(ctypes.get_errno())
