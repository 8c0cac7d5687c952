import pickle

import numpy as np
import torch

from nextvid_mm.layers import BatchMask, ClipBatch

INFO = [dict(sample_seed=2**63 - 1 - n, static=n == 1, path=f'{n}.mp4') for n in range(3)]
MASK = BatchMask(torch.arange(6).view(3, 2), torch.arange(9).view(3, 3))


def test_seeds_of_strategies_differ_as_ever():
    """Those of the first strategy are the clips' own; no run's noise may change."""
    batch = ClipBatch.of(INFO, [MASK])
    for strategy in range(4):
        expected = [
            (clip['sample_seed'] ^ (0x9E3779B97F4A7C15 * strategy)) % 2**63 for clip in INFO
        ]
        assert batch.seeds_of(strategy).tolist() == expected
    assert ClipBatch.of([dict(path='a.mp4')]).seeds_of(1) is None


def test_some_of_the_clips():
    batch = ClipBatch.of(INFO, [MASK], torch.arange(3).view(3, 1, 1, 1))
    part = batch.take([2, 1])
    assert part.masks[0].visible.tolist() == [[4, 5], [2, 3]]
    assert part.target.flatten().tolist() == [2, 1]
    assert (part.moving.tolist(), part.still.tolist()) == ([0], [1])
    assert [clip['path'] for clip in batch.take(slice(2)).info] == ['0.mp4', '1.mp4']
    assert np.array_equal(batch.take(slice(2)).seeds, batch.seeds[:2])


def test_a_batch_without_masks_shows_everything():
    batch = ClipBatch.of(INFO, [BatchMask(None, None)])
    assert batch.take([0]).masks == (BatchMask(None, None),)


def test_it_crosses_processes():
    batch = pickle.loads(pickle.dumps(ClipBatch.of(INFO, [MASK])))
    assert type(batch) is ClipBatch
    assert type(batch.masks[0]) is BatchMask
