"""What a sampler asks of a data set: one clip, fully determined."""

import struct
from dataclasses import dataclass
from hashlib import blake2b


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
