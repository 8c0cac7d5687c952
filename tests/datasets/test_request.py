import pickle
from dataclasses import FrozenInstanceError

import pytest
import torch

from nextvid_mm.datasets.request import ClipRequest, derive_seed


def test_request_travels_between_processes_and_cannot_change():
    request = ClipRequest(position=7, source=1, index=3, num_frames=16, seed=5)
    assert pickle.loads(pickle.dumps(request)) == request
    with pytest.raises(FrozenInstanceError):
        request.seed = 6


def test_seeds_fit_a_signed_tensor():
    seeds = [derive_seed(0, position) for position in range(1000)]
    assert torch.tensor(seeds).dtype == torch.int64
    assert min(seeds) >= 0


def test_seeds_differ_between_runs_and_positions():
    seeds = {derive_seed(run, position) for run in range(10) for position in range(1000)}
    assert len(seeds) == 10_000
    # A sum of run seed and position would collide here.
    assert derive_seed(0, 1) != derive_seed(1, 0)


def test_seed_is_a_fixed_function():
    # A change of the function silently changes every resumed run.
    assert derive_seed(0, 0) == derive_seed(0, 0)
    assert derive_seed(-1, 2) == derive_seed(2**64 - 1, 2)
    assert derive_seed(123, 456) == EXPECTED


EXPECTED = 2046982947738465812
