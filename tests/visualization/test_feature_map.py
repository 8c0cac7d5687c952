import numpy as np
import pytest

from nextvid_mm.visualization.feature_map import draw_feature_map, project


def clusters():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 12)
    return labels, rng.normal(size=(24, 5)) + 20 * labels[:, None]


def test_classes_that_lie_apart_stay_apart_and_the_map_repeats():
    labels, features = clusters()
    points = project(features, seed=1)
    assert points.shape == (24, 2)
    distance = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(24) * 1e9
    assert (labels[distance.argmin(1)] == labels).all()
    assert np.array_equal(points, project(features, seed=1))


def test_every_class_of_every_map_is_drawn():
    labels, features = clusters()
    figure = draw_feature_map([('one', features[:, :2]), ('two', features[:, 2:4])], labels, 'ab')
    assert [axis.get_title() for axis in figure.axes] == ['one', 'two']
    sizes = [len(part.get_offsets()) for axis in figure.axes for part in axis.collections]
    assert sizes == [12, 12, 12, 12]


def test_too_few_clips():
    with pytest.raises(ValueError, match='at least 4 clips, found 3'):
        project(np.zeros((3, 2)))
