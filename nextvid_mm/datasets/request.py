"""What a sampler asks of a dataset: one clip, fully determined, its random state included."""

import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """One clip of a run.

    Nothing in it depends on the number of processes or workers: the same position of the same run
    is the same clip, cropped and masked the same way, wherever it is loaded.

    Args:
        position: Number of the sample in the whole run, from 0.
        source: Index of the source in the mixture.
        index: Index of the item in the source.
        num_frames: Video frames of the clip.
        seed: Seed of everything random about the sample, 63 bits: it fits a signed 64-bit tensor.
    """

    position: int
    source: int
    index: int
    num_frames: int
    seed: int


def derive_seed(*words: int) -> int:
    """Mix integers into one seed in ``[0, 2**63)``; neighbouring inputs give unrelated seeds.

    Args:
        words: Any integers that fit 64 bits, such as (run seed, position).
    """
    packed = struct.pack(f'<{len(words)}Q', *(word & (2**64 - 1) for word in words))
    return int.from_bytes(blake2b(packed, digest_size=8).digest(), 'little') >> 1


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
