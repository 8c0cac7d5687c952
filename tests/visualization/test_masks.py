import numpy as np

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.visualization.masks import draw_masks


def test_every_draw_of_every_strategy_shows_its_visible_patches():
    strategies = [dict(num_blocks=1, scale=0.25), dict(num_blocks=2, scale=0.2)]
    masking = FrameIsolatedMasking(4, strategies)
    figure = draw_masks(masking, (4, 6), draws=3, rng=np.random.default_rng(0))
    assert len(figure.axes) == 6
    for number, axis in enumerate(figure.axes):
        drawn = np.asarray(axis.collections[0].get_array()).reshape(4, 6)
        assert drawn.sum() == masking.num_visible((4, 6))[number // 3]
    first = masking.sample((4, 6), np.random.default_rng(0))[0]['visible'].numpy()
    shown = np.asarray(figure.axes[0].collections[0].get_array()).reshape(4, 6)[::-1]
    assert np.flatnonzero(shown).tolist() == first.tolist(), 'the first row is at the top'


def test_without_masking_everything_is_visible():
    masking = FrameIsolatedMasking(4, 'none')
    figure = draw_masks(masking, (2, 2), draws=2, rng=np.random.default_rng(0))
    assert all(np.asarray(axis.collections[0].get_array()).all() for axis in figure.axes)
