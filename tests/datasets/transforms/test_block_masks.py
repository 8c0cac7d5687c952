import numpy as np
import pytest
from paper import ASPECT_RATIO, MASKS

from nextvid_mm.datasets.transforms.block_masks import BlockStrategy, adjust_rim


def strategy(grid=(16, 16), num_blocks=1, scale=0.15, aspect_ratio=ASPECT_RATIO):
    return BlockStrategy(grid, num_blocks, scale, aspect_ratio)


@pytest.mark.parametrize('scale', [0.15, 0.4, 0.7])
def test_one_block_is_a_rectangle_of_the_right_size_and_shape(scale):
    rng = np.random.default_rng(0)
    areas = []
    for hidden in strategy(scale=scale).draw(rng, 200):
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
    often = strategy(scale=0.05).draw(rng, 4000).mean(axis=0)
    # Inner patches are covered about equally often; the border, less.
    inner = often[4:-4, 4:-4]
    assert inner.min() > 0.6 * inner.max()
    assert often.min() > 0


def test_more_blocks_hide_more():
    rng = np.random.default_rng(0)
    means = [strategy(num_blocks=n).draw(rng, 200).mean() for n in (1, 3, 8)]
    assert means == sorted(means)


@pytest.mark.parametrize('grid', [(4, 4), (6, 6), (8, 8), (16, 16), (10, 10)])
@pytest.mark.parametrize(('num_blocks', 'scale'), MASKS)
def test_survey_is_sorted_possible_and_always_the_same(grid, num_blocks, scale):
    found = strategy(grid, num_blocks, scale)
    counts = found.survey()
    assert (np.diff(counts) >= 0).all()
    assert counts[0] >= 1
    assert counts[-1] < found.num_patches
    assert len(counts) > 1000
    assert strategy(grid, num_blocks, scale).survey() is counts


def one_by_one(found, rng, count):
    """Masks as the sampler is described, one block after the other."""
    rows, columns = found.grid
    low, high = found.aspect_ratio
    for _ in range(count):
        chance = rng.random(1 + 2 * found.num_blocks)
        ratio, area = low + (high - low) * chance[0], found.scale * rows * columns
        height = min(max(round(np.sqrt(area * ratio)), 1), rows)
        width = min(max(round(np.sqrt(area / ratio)), 1), columns)
        hidden = np.zeros(found.grid, dtype=bool)
        for top, left in chance[1:].reshape(2, -1).T:
            top, left = int(top * (rows - height + 1)), int(left * (columns - width + 1))
            hidden[top : top + height, left : left + width] = True
        yield hidden


@pytest.mark.parametrize('grid', [(4, 4), (16, 16), (12, 10)])
@pytest.mark.parametrize(('num_blocks', 'scale'), MASKS)
def test_many_draws_at_once_are_the_draws_one_by_one(grid, num_blocks, scale):
    found = strategy(grid, num_blocks, scale)
    drawn = found.draw(np.random.default_rng(3), 50)
    rng = np.random.default_rng(3)
    for mask, expected in zip(drawn, one_by_one(found, rng, 50), strict=True):
        assert (mask == expected).all()


def covered(hidden, height, width):
    """The patches that lie in some rectangle of that size inside of ``hidden``."""
    windows = np.lib.stride_tricks.sliding_window_view(hidden, (height, width))
    result = np.zeros_like(hidden)
    for top, left in zip(*np.nonzero(windows.all(axis=(2, 3))), strict=True):
        result[top : top + height, left : left + width] = True
    return result


def is_union_of_blocks(found, hidden):
    low, high = found.aspect_ratio
    area = found.scale * found.num_patches
    shapes = {
        (min(round(np.sqrt(area * ratio)), found.grid[0]),
         min(round(np.sqrt(area / ratio)), found.grid[1]))
        for ratio in np.linspace(low, high, 1000)
    }  # fmt: skip
    return any((covered(hidden, *shape) == hidden).all() for shape in shapes)


@pytest.mark.parametrize(
    ('num_blocks', 'scale', 'num_visible'),
    [(8, 0.15, 70), (8, 0.15, 97), (2, 0.7, 22), (2, 0.7, 48)],
)
def test_exact_masks_are_nothing_but_blocks(num_blocks, scale, num_visible):
    found = strategy(num_blocks=num_blocks, scale=scale)
    assert found.is_likely(num_visible)
    rng = np.random.default_rng(0)
    masks = [found.draw_exactly(num_visible, rng) for _ in range(40)]
    assert {int((~mask).sum()) for mask in masks} == {num_visible}
    assert all(is_union_of_blocks(found, mask) for mask in masks)
    assert len({mask.tobytes() for mask in masks}) > 10
    again = np.random.default_rng(0)
    assert all((found.draw_exactly(num_visible, again) == mask).all() for mask in masks)


def test_rare_counts_are_met_at_the_rim_of_the_blocks():
    found = strategy((8, 8), 1, 0.4)
    counts = np.unique(found.survey()).tolist()
    num_visible = next(n for n in range(counts[0], counts[-1]) if n not in counts)
    assert not found.is_likely(num_visible)
    assert found.is_likely(counts[0])
    drawn = [found.draw_exactly(num_visible, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert all((~mask).sum() == num_visible for mask in drawn)
    assert (drawn[0] == drawn[1]).all()
    assert (drawn[0] != drawn[2]).any()


@pytest.mark.parametrize('num_visible', [30, 49, 60])
def test_the_rim_moves_by_single_patches_next_to_it(num_visible):
    hidden = np.zeros((8, 8), dtype=bool)
    hidden[2:6, 1:6] = True  # 44 patches are visible
    before = hidden.copy()
    adjusted = adjust_rim(hidden, num_visible, np.random.default_rng(0))
    assert (hidden == before).all()
    assert (~adjusted).sum() == num_visible
    changed = adjusted != before
    assert changed.sum() == abs(num_visible - 44), 'no patch goes there and back'
    # Whatever changed can be reached from the other side without leaving what changed.
    reached = (before == (num_visible < 44)) & ~changed
    for _ in range(changed.sum()):
        padded = np.pad(reached, 1)
        near = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        reached |= near & changed
    assert reached[changed].all()


def test_refuses_masks_of_everything_or_nothing():
    with pytest.raises(ValueError, match='hides nothing'):
        strategy(num_blocks=0)
    with pytest.raises(ValueError, match='hides nothing'):
        strategy(scale=0)
    with pytest.raises(ValueError, match='at most 1'):
        strategy(scale=1.1)
    with pytest.raises(ValueError, match=r'scale=1.0 hides all 16 patches of a 4×4 grid in every'):
        strategy((4, 4), scale=1.0, aspect_ratio=(1.0, 1.0)).survey()
    with pytest.raises(ValueError, match='aspect_ratio'):
        strategy(aspect_ratio=(1.5, 0.75))


@pytest.mark.parametrize(
    ('grid', 'scale', 'message'),
    [
        ((2, 8), 0.3, r'scale=0.3 .* does not fit the grid of 2×8 patches.* at most 0.183'),
        ((16, 32), 0.7, r'up to 23.2 rows high .* at most 0.367'),
        ((8, 4), 0.7, r'up to 5.5 columns wide'),
    ],
)
def test_refuses_blocks_larger_than_the_grid_and_says_what_fits(grid, scale, message):
    with pytest.raises(ValueError, match=message) as error:
        strategy(grid, 2, scale).survey()
    fits = float(str(error.value).partition('at most ')[2].partition(',')[0])
    strategy(grid, 2, fits).survey()
