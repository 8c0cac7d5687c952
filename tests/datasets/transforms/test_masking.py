import numpy as np
import pytest
import torch

from nextvid_mm.datasets.transforms.masking import FrameIsolatedMasking
from nextvid_mm.registry import TRANSFORMS

GRIDS = [(64, 16), (96, 16), (64, 8), (256, 16)]


def draw(transform, count=50, seed=0):
    rng = np.random.default_rng(seed)
    return [transform.sample(rng) for _ in range(count)]


@pytest.mark.parametrize(('img_size', 'patch_size'), GRIDS)
def test_visible_and_hidden_partition_the_frame_with_static_sizes(img_size, patch_size):
    transform = FrameIsolatedMasking(img_size, patch_size)
    for masks in draw(transform):
        assert len(masks) == 2
        for mask, num_visible in zip(masks, transform.num_visible, strict=True):
            assert mask['visible'].dtype == mask['hidden'].dtype == torch.int64
            assert mask['visible'].shape == (num_visible,)
            both = torch.cat([mask['visible'], mask['hidden']])
            assert both.sort().values.tolist() == list(range(transform.num_patches))
            for key in ('visible', 'hidden'):
                assert (mask[key].diff() > 0).all(), 'indices must be sorted'


def test_num_visible_is_the_quantile_of_the_block_sampler():
    transform = FrameIsolatedMasking(256, 16)
    for strategy, num_visible in zip(transform.strategies, transform.num_visible, strict=True):
        share = (strategy.survey() < num_visible).mean()
        assert 0.05 < share <= 0.1
    more = FrameIsolatedMasking(256, 16, quantile=0.5)
    assert all(a < b for a, b in zip(transform.num_visible, more.num_visible, strict=True))


def test_num_visible_does_not_depend_on_the_state_of_the_process():
    first = FrameIsolatedMasking(96, 16).num_visible
    np.random.seed(123)
    assert FrameIsolatedMasking(96, 16).num_visible == first


def test_masks_are_blocks_but_for_the_surplus():
    transform = FrameIsolatedMasking(256, 16, [dict(num_blocks=1, scale=0.4)])
    for (mask,) in draw(transform, count=20):
        hidden = torch.zeros(256, dtype=torch.bool)
        hidden[mask['hidden']] = True
        hidden = hidden.view(16, 16)
        # The block fills most of some 8×8 window.
        windows = torch.nn.functional.avg_pool2d(hidden[None].float(), 8, stride=1)
        assert windows.max() == 1


def test_seeded_by_numpys_global_generator():
    transform = FrameIsolatedMasking(64, 8)
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        results.append(transform(dict(img_shape=(64, 64)))['masks'][0]['visible'].tolist())
    assert results[0] == results[1] != results[2]


def test_seeded_by_an_explicit_generator():
    transform = FrameIsolatedMasking(64, 8)
    first, second, other = (draw(transform, 3, seed) for seed in (4, 4, 5))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours[1]['hidden'], theirs[1]['hidden'])
    assert any(
        not torch.equal(a[0]['hidden'], b[0]['hidden']) for a, b in zip(first, other, strict=True)
    )
    assert not torch.equal(first[0][0]['hidden'], first[1][0]['hidden'])


@pytest.mark.parametrize('num_visible', [1, 5, 10])
def test_given_number_of_visible_patches(num_visible):
    strategies = [dict(num_blocks=2, scale=0.3, num_visible=num_visible)]
    transform = FrameIsolatedMasking(64, 16, strategies)
    assert {mask['visible'].numel() for (mask,) in draw(transform)} == {num_visible}


def test_rectangular_frames_are_numbered_row_by_row():
    transform = FrameIsolatedMasking((32, 128), 16, [dict(num_blocks=1, scale=0.3)])
    assert transform.grid == (2, 8)
    np.random.seed(0)
    masks = transform(dict(imgs=np.zeros((1, 3, 4, 32, 128))))['masks']
    assert masks[0]['hidden'].max() < 16


def test_without_masking_everything_is_visible_and_hidden():
    transform = FrameIsolatedMasking(64, 16, strategies='none')
    (mask,) = transform.sample(np.random.default_rng(0))
    assert mask['visible'].tolist() == mask['hidden'].tolist() == list(range(16))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(img_size=60), '60×60 is not divisible by patch_size=16'),
        (dict(img_size=(64, 8)), '64×8 is not divisible'),
        (dict(strategies=[]), "must be a list of dicts, or 'none'"),
        (dict(strategies='some'), "must be a list of dicts, or 'none'"),
        (dict(strategies=[dict(num_blocks=1, scale=1.0)], aspect_ratio=(1, 1)), 'hides all'),
        (dict(strategies=[dict(num_blocks=0, scale=0.5)]), 'hides nothing'),
        (dict(strategies=[dict(num_blocks=1, scal=0.5)]), 'a strategy has the keys'),
        (dict(strategies=[dict(num_blocks=1, scale=0.5, num_visible=16)]), 'one hidden'),
        (dict(strategies=[dict(num_blocks=1, scale=0.5, num_visible=0)]), 'visible and one'),
        (dict(strategies=[dict(num_blocks=1, scale=0.7, num_visible=12)]), 'cannot be reached'),
        (dict(quantile=2), 'quantile=2'),
    ],
)
def test_refuses_bad_configs(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrameIsolatedMasking(**{'img_size': 64, 'patch_size': 16, **arguments})


def test_refuses_frames_of_another_size():
    transform = TRANSFORMS.build(dict(type='FrameIsolatedMasking', img_size=64, patch_size=16))
    for results in (dict(imgs=np.zeros((1, 3, 4, 32, 64))), dict(imgs=[1], img_shape=(32, 64))):
        with pytest.raises(ValueError, match=r'img_size=\(64, 64\), the frames are \(32, 64\)'):
            transform(results)
