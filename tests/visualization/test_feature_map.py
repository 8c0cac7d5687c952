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


def test_every_class_is_drawn_and_named():
    labels, features = clusters()
    (axis,) = draw_feature_map(features[:, :2], labels, ['one', 'two']).axes
    assert [len(part.get_offsets()) for part in axis.collections] == [12, 12]
    assert [part.get_label() for part in axis.collections] == ['one', 'two']


@pytest.mark.parametrize(('classes', 'legends'), [(24, 1), (25, 0)])
def test_hundreds_of_classes_are_drawn_without_their_names(classes, legends):
    names = [str(number) for number in range(classes)]
    figure = draw_feature_map(np.zeros((classes, 2)), list(range(classes)), names)
    assert len(figure.legends) == legends


def test_too_few_clips():
    with pytest.raises(ValueError, match='at least 4 clips, found 3'):
        project(np.zeros((3, 2)))
