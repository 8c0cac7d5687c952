"""Random state of a sample, kept apart from the random state of the process."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def isolated_rng(seed: int) -> Iterator[None]:
    """Run a block under Python's, NumPy's and torch's global generators seeded with ``seed``.

    The three generators are put back afterwards, also after an error: what is loaded in a process
    leaves no trace in it, and what the process did before does not reach the sample. Only torch's
    CPU generator is touched.

    Args:
        seed: Seed in ``[0, 2**63)``.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.default_generator.get_state()
    try:
        random.seed(seed)
        # NumPy's global generator takes 32-bit words.
        np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)
