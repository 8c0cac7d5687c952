import numpy as np
import pytest
import torch

from nextvid_mm.datasets.transforms import masking
from nextvid_mm.datasets.transforms.masking import FrameIsolatedMasking, TubeMasking
from nextvid_mm.registry import TRANSFORMS

GRIDS = [(4, 4), (6, 6), (8, 8), (16, 16)]


def draw(transform, grid, count=50, seed=0):
    rng = np.random.default_rng(seed)
    return [transform.sample(grid, rng) for _ in range(count)]


@pytest.mark.parametrize('grid', GRIDS)
def test_visible_and_hidden_partition_the_frame_with_static_sizes(grid):
    transform = FrameIsolatedMasking(16)
    for masks in draw(transform, grid):
        assert len(masks) == 2
        for mask, num_visible in zip(masks, transform.num_visible(grid), strict=True):
            assert mask['visible'].dtype == mask['hidden'].dtype == torch.int64
            assert mask['visible'].shape == (num_visible,)
            both = torch.cat([mask['visible'], mask['hidden']])
            assert both.sort().values.tolist() == list(range(grid[0] * grid[1]))
            for key in ('visible', 'hidden'):
                assert (mask[key].diff() > 0).all(), 'indices must be sorted'


def test_num_visible_is_the_quantile_of_the_block_sampler():
    grid = (16, 16)
    transform = FrameIsolatedMasking(16)
    for strategy, num_visible in transform.strategies(grid):
        share = (strategy.survey() < num_visible).mean()
        assert 0.05 < share <= 0.1
    more = FrameIsolatedMasking(16, quantile=0.5).num_visible(grid)
    assert all(a < b for a, b in zip(transform.num_visible(grid), more, strict=True))


def test_num_visible_does_not_depend_on_the_state_of_the_process():
    first = FrameIsolatedMasking(16).num_visible((6, 6))
    np.random.seed(123)
    assert FrameIsolatedMasking(16).num_visible((6, 6)) == first


def test_no_patch_stands_alone_on_the_published_grid():
    transform = FrameIsolatedMasking(16)
    for masks in draw(transform, (16, 16), count=20):
        for mask in masks:
            shown = torch.zeros(256, dtype=torch.bool)
            shown[mask['visible']] = True
            padded = torch.nn.functional.pad(shown.view(16, 16), (1, 1, 1, 1))
            near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
            alone = shown.view(16, 16) & ~near
            assert alone.sum() <= 2, 'blocks may cut off a patch, a random choice cuts off many'


def test_rare_counts_are_told_once_at_the_first_clip(monkeypatch):
    told = []
    monkeypatch.setattr(masking, 'print_log', lambda text, *_: told.append(text))
    transform = FrameIsolatedMasking(16, [dict(num_blocks=1, scale=0.4, num_visible=9)])
    assert {mask['visible'].numel() for (mask,) in draw(transform, (4, 4))} == {9}
    assert len(told) == 1
    assert 'exactly 9 of 4×4 patches visible in 0.00% of its draws' in told[0]
    draw(FrameIsolatedMasking(16), (16, 16), count=1)
    assert len(told) == 1, 'the published masks are drawn until they fit'


def test_a_rim_lets_more_draws_pass():
    strategies = [dict(num_blocks=2, scale=0.7, num_visible=22)]
    kinds = []
    for rim in (0, 6):
        drawn = draw(FrameIsolatedMasking(16, strategies, rim=rim), (16, 16), count=60)
        assert {mask['visible'].numel() for (mask,) in drawn} == {22}
        kinds.append(len({tuple(mask['visible'].tolist()) for (mask,) in drawn}))
    assert kinds[1] > 2 * kinds[0]


def test_seeded_by_numpys_global_generator():
    transform = FrameIsolatedMasking(8)
    results = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        results.append(transform(dict(img_shape=(64, 64)))['masks'][0]['visible'].tolist())
    assert results[0] == results[1] != results[2]


def test_seeded_by_an_explicit_generator():
    transform = FrameIsolatedMasking(8)
    first, second, other = (draw(transform, (8, 8), 3, seed) for seed in (4, 4, 5))
    for ours, theirs in zip(first, second, strict=True):
        assert torch.equal(ours[1]['hidden'], theirs[1]['hidden'])
    assert any(
        not torch.equal(a[0]['hidden'], b[0]['hidden']) for a, b in zip(first, other, strict=True)
    )
    assert not torch.equal(first[0][0]['hidden'], first[1][0]['hidden'])


@pytest.mark.parametrize('num_visible', [4, 7, 12])
def test_given_number_of_visible_patches(num_visible):
    strategies = [dict(num_blocks=2, scale=0.3, num_visible=num_visible)]
    transform = FrameIsolatedMasking(16, strategies)
    assert {mask['visible'].numel() for (mask,) in draw(transform, (4, 4))} == {num_visible}


def test_rectangular_frames_are_numbered_row_by_row():
    transform = FrameIsolatedMasking(16, [dict(num_blocks=1, scale=0.15)])
    assert transform.grid_of((32, 128)) == (2, 8)
    np.random.seed(0)
    masks = transform(dict(imgs=np.zeros((1, 3, 4, 32, 128))))['masks']
    rows = [set((part // 8).tolist()) for part in masks[0].values()]
    assert set.union(*rows) == {0, 1}


def test_the_grid_follows_the_frames():
    transform = FrameIsolatedMasking(16)
    for side in (64, 96, 64):
        np.random.seed(0)
        masks = transform(dict(imgs=np.zeros((1, 3, 4, side, side))))['masks']
        assert sum(map(len, masks[0].values())) == (side // 16) ** 2
        np.random.seed(0)
        again = FrameIsolatedMasking(16)(dict(img_shape=(side, side)))['masks']
        assert torch.equal(masks[1]['hidden'], again[1]['hidden'])


def test_the_first_clips_of_a_run_are_shown_whole():
    transform = FrameIsolatedMasking(16, unmasked_clips=32)
    counts = {
        position: [
            len(mask['visible'])
            for mask in transform(dict(img_shape=(64, 64), position=position))['masks']
        ]
        for position in (0, 31, 32)
    }
    assert counts == {0: [16], 31: [16], 32: transform.num_visible((4, 4))}
    with pytest.raises(ValueError, match='unmasked_clips=-1 is a number of clips: 0 or more'):
        FrameIsolatedMasking(16, unmasked_clips=-1)


def test_without_masking_everything_is_visible_and_hidden():
    transform = FrameIsolatedMasking(16, strategies='none')
    assert transform.num_visible((4, 4)) == [16]
    (mask,) = transform.sample((4, 4), np.random.default_rng(0))
    assert mask['visible'].tolist() == mask['hidden'].tolist() == list(range(16))


def test_one_of_several_strategies_may_mask_nothing():
    masked, whole = dict(num_blocks=1, scale=0.4), dict(num_blocks=0, scale=0.15)
    transform = FrameIsolatedMasking(16, strategies=[whole, masked])
    alone = FrameIsolatedMasking(16, strategies=[masked])
    assert transform.num_visible((4, 4)) == [16, *alone.num_visible((4, 4))]
    (all_, mask), (same,) = (
        one.sample((4, 4), np.random.default_rng(0)) for one in (transform, alone)
    )
    assert all_['visible'].tolist() == all_['hidden'].tolist() == list(range(16))
    assert torch.equal(mask['hidden'], same['hidden'])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(strategies=[]), "must be a list of dicts, or 'none'"),
        (dict(strategies='some'), "must be a list of dicts, or 'none'"),
        (dict(strategies=[dict(num_blocks=0, scale=0.4, num_visible=7)]), 'with num_blocks=0'),
        (dict(strategies=[dict(num_blocks=-1, scale=0.5)]), 'hides nothing'),
        (dict(strategies=[dict(num_blocks=1, scal=0.5)]), 'a strategy has the keys'),
        (dict(strategies=[dict(num_blocks=1)]), r"found \['num_blocks'\]"),
        (dict(strategies=[dict(num_blocks=1, scale=1.5)]), 'scale=1.5 is a share'),
        (dict(aspect_ratio=(2, 1)), r'aspect_ratio=\(2, 1\)'),
        (dict(strategies=[dict(num_blocks=1, scale=0.4, num_visible=7.5)]), 'num_visible=7.5'),
        (dict(quantile=2), 'quantile=2'),
        (dict(rim=-1), 'rim=-1 is a number of patches'),
    ],
)
def test_refuses_bad_configs_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        FrameIsolatedMasking(16, **arguments)


@pytest.mark.parametrize(
    ('strategy', 'message'),
    [
        (dict(num_blocks=1, scale=1.0), 'hides all'),
        (dict(num_blocks=1, scale=0.5, num_visible=16), 'one hidden'),
        (dict(num_blocks=1, scale=0.5, num_visible=0), 'visible and one'),
        (dict(num_blocks=1, scale=0.7, num_visible=12), 'num_visible=12 cannot be reached'),
        (dict(num_blocks=1, scale=0.2, num_visible=1), 'leaves 12 to 12 patches visible'),
    ],
)
def test_refuses_what_a_grid_does_not_allow(strategy, message):
    transform = FrameIsolatedMasking(16, [strategy], aspect_ratio=(1, 1))
    with pytest.raises(ValueError, match=message):
        transform(dict(img_shape=(64, 64)))


@pytest.mark.parametrize('size', [(60, 64), (64, 8), (0, 64)])
def test_refuses_frames_that_are_no_whole_patches(size):
    transform = TRANSFORMS.build(dict(type='FrameIsolatedMasking', patch_size=16))
    message = f'frames of {size[0]}×{size[1]} pixels do not divide.*multiples of 16'
    for results in (dict(imgs=np.zeros((1, 3, 4, *size))), dict(imgs=[1], img_shape=size)):
        with pytest.raises(ValueError, match=message):
            transform(results)
    with pytest.raises(ValueError, match='FormatShape'):
        transform(dict())


def test_of_random_tubes_a_fixed_number_is_hidden_and_nothing_is_lost():
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


def test_random_tubes_work_in_a_pipeline():
    results = TubeMasking(8, 0.5).transform(dict(imgs=np.zeros((1, 3, 4, 32, 32), np.uint8)))
    assert [len(part) for part in results['masks'][0].values()] == [8, 8]
    with pytest.raises(ValueError, match='TubeMasking: frames of 12×16 pixels'):
        TubeMasking(8).transform(dict(img_shape=(12, 16)))


@pytest.mark.parametrize('ratio', [0.0, 1.0, 0.01])
def test_hiding_all_or_nothing_is_refused(ratio):
    with pytest.raises(ValueError, match='TubeMasking: ratio='):
        TubeMasking(8, ratio).sample((4, 4), np.random.default_rng(0))
