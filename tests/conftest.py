"""Shared by all tests: one thread per process, fixed seeds, and no state left between tests."""

import os
import random
import signal

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

import nextvid_mm  # noqa: F401  (applies the work-arounds before any test imports a component)

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed():
    """Seed Python, numpy and torch, so that a test does not depend on those before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


_MANAGERS = (DefaultScope, MessageHub, MMLogger, Visualizer)
_PRISTINE = [manager._instance_dict.copy() for manager in _MANAGERS]
_SIGNALS = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}


@pytest.fixture(autouse=True)
def global_state():
    """Take back what a Runner leaves behind: scope, message hub, logger, visualizer, signals.

    Back to how it was at the start, not before the test: a module's own fixtures run earlier.
    """
    yield
    for manager, instances in zip(_MANAGERS, _PRISTINE, strict=True):
        manager._instance_dict = instances.copy()
    for number, handler in _SIGNALS.items():
        signal.signal(number, handler)
