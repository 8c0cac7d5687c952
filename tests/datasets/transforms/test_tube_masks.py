import numpy as np
import pytest
import torch

from nextvid_mm.datasets.transforms import TubeMasking


def test_a_fixed_number_is_hidden_and_nothing_is_lost():
    transform = TubeMasking(patch_size=8, ratio=0.9)
    rng = np.random.default_rng(0)
    hidden_counts = np.zeros(32)
    for _ in range(200):
        (mask,) = transform.sample((4, 8), rng)
        assert len(mask['hidden']) == 29
        assert torch.equal(
            torch.cat([mask['visible'], mask['hidden']]).sort().values, torch.arange(32)
        )
        hidden_counts[mask['hidden']] += 1
    assert hidden_counts.min() > 160, 'every patch is hidden about 9 times of 10'


def test_it_works_in_a_pipeline():
    results = TubeMasking(8, 0.5).transform(dict(imgs=np.zeros((1, 3, 4, 32, 32), np.uint8)))
    assert [len(part) for part in results['masks'][0].values()] == [8, 8]
    with pytest.raises(ValueError, match='TubeMasking: frames of 12×16 pixels'):
        TubeMasking(8).transform(dict(img_shape=(12, 16)))


@pytest.mark.parametrize('ratio', [0.0, 1.0, 0.01])
def test_hiding_all_or_nothing_is_refused(ratio):
    with pytest.raises(ValueError, match='TubeMasking: ratio='):
        TubeMasking(8, ratio).sample((4, 4), np.random.default_rng(0))
