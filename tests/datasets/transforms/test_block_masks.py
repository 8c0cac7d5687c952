import numpy as np
import pytest

from nextvid_mm.datasets.transforms.block_masks import BlockStrategy

PAPER = [(8, 0.15), (2, 0.7)]


def strategy(grid=(16, 16), num_blocks=1, scale=0.15, aspect_ratio=(0.75, 1.5)):
    return BlockStrategy(grid, num_blocks, scale, aspect_ratio)


@pytest.mark.parametrize('scale', [0.15, 0.4, 0.7])
def test_one_block_is_a_rectangle_of_the_right_size_and_shape(scale):
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        hidden = strategy(scale=scale).draw(rng)
        rows, columns = np.flatnonzero(hidden.any(axis=1)), np.flatnonzero(hidden.any(axis=0))
        height, width = len(rows), len(columns)
        assert hidden.sum() == height * width
        assert rows[-1] - rows[0] + 1 == height
        assert columns[-1] - columns[0] + 1 == width
        # Rounding to whole patches moves the ratio by up to half a patch on either side.
        assert (height - 0.5) / (width + 0.5) <= 1.5
        assert (height + 0.5) / (width - 0.5) >= 0.75
        areas.append(hidden.mean())
    assert np.mean(areas) == pytest.approx(scale, rel=0.05)


def test_blocks_lie_everywhere():
    rng = np.random.default_rng(0)
    often = np.mean([strategy(scale=0.05).draw(rng) for _ in range(4000)], axis=0)
    # Inner patches are covered about equally often; the border, less.
    inner = often[4:-4, 4:-4]
    assert inner.min() > 0.6 * inner.max()
    assert often.min() > 0


def test_more_blocks_hide_more():
    rng = np.random.default_rng(0)
    means = [
        np.mean([strategy(num_blocks=n).draw(rng).mean() for _ in range(200)]) for n in (1, 3, 8)
    ]
    assert means == sorted(means)


@pytest.mark.parametrize('grid', [(4, 4), (6, 6), (8, 8), (16, 16), (4, 8)])
@pytest.mark.parametrize(('num_blocks', 'scale'), PAPER)
def test_survey_is_sorted_possible_and_always_the_same(grid, num_blocks, scale):
    found = strategy(grid, num_blocks, scale)
    counts = found.survey()
    assert (np.diff(counts) >= 0).all()
    assert counts[0] >= 1
    assert counts[-1] < found.num_patches
    assert len(counts) > 1000
    assert strategy(grid, num_blocks, scale).survey() is counts


def test_refuses_masks_of_everything_or_nothing():
    with pytest.raises(ValueError, match='hides nothing'):
        strategy(num_blocks=0)
    with pytest.raises(ValueError, match='hides nothing'):
        strategy(scale=0)
    with pytest.raises(ValueError, match='at most 1'):
        strategy(scale=1.1)
    with pytest.raises(ValueError, match=r'hides all 16 patches of a 4×4 grid in every draw'):
        strategy((4, 4), scale=1.0, aspect_ratio=(1.0, 1.0)).survey()
    with pytest.raises(ValueError, match='aspect_ratio'):
        strategy(aspect_ratio=(1.5, 0.75))
