"""Statistics of masks: counted by hand on small ones."""

import numpy as np
import pytest

from benchmarks.masks import (
    STRATEGIES,
    alone,
    as_in_vjepa,
    largest_opening,
    mask_statistics,
    shapes,
)
from benchmarks.workload import Workload
from nextvid_mm.datasets.transforms import BlockStrategy


def test_a_patch_is_alone_without_a_visible_neighbour():
    hidden = np.ones((1, 4, 4), dtype=bool)
    hidden[0, 0, 0] = hidden[0, 0, 1] = hidden[0, 2, 2] = hidden[0, 3, 3] = False
    assert alone(hidden) == 0.5, 'diagonal neighbours do not count'


def test_what_no_block_covers_is_extra():
    strategy = BlockStrategy((8, 8), 2, 0.15, (0.75, 1.5))
    assert shapes(strategy) == [(3, 3), (3, 4), (4, 3)]
    masks = np.zeros((2, 8, 8), dtype=bool)
    masks[:, 1:4, 2:6] = True  # three rows, four columns
    masks[0, 6, 6] = True
    covered = largest_opening(masks, strategy)
    assert (covered[1] == masks[1]).all()
    assert np.argwhere(masks[0] != covered[0]).tolist() == [[6, 6]]


def test_vjepas_batches_share_a_shape_and_are_cut_to_their_smallest():
    strategy = BlockStrategy((16, 16), 1, 0.15, (0.75, 1.5))
    drawn = as_in_vjepa(strategy, 96, np.random.default_rng(0))
    for batch, kept, predicted in zip(
        np.split(drawn.hidden, 3), drawn.kept, drawn.predicted, strict=True
    ):
        counts = batch.sum(axis=(1, 2))
        assert len(set(counts.tolist())) == 1, 'one block of one shape'
        assert (kept, predicted) == (256 - counts[0], counts[0])


def test_ours_are_blocks_and_leave_what_the_published_configs_say():
    published = Workload('large', pixels=256).masking()
    assert [counts[0] for _, _, counts in STRATEGIES] == published.num_visible((16, 16))
    report = mask_statistics(draws=64)
    rows = {(row['masks'], row['blocks']): row for row in report.rows}
    for (blocks, _, counts), filled in zip(STRATEGIES, (15, 10), strict=True):
        ours = rows['ours', blocks]
        assert (ours['visible'], ours['sd'], ours['extra, %']) == (counts[0], 0, 0)
        assert ours['kept'] + ours['predicted'] == 256
        assert rows['filled at random', blocks]['extra, %'] > filled
        theirs = rows["V-JEPA's batches", blocks]
        assert theirs['kept'] == pytest.approx(counts[0], abs=25)
        assert theirs['kept'] + theirs['predicted'] < 200, 'both sets are cut'
