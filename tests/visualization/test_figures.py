import base64
import io

import numpy as np
import pytest
from PIL import Image

from nextvid_mm.datasets.transforms import FrameIsolatedMasking
from nextvid_mm.lettering import lettering
from nextvid_mm.visualization.figures import (
    PANELS,
    Series,
    data_uri,
    draw_feature_map,
    draw_lines,
    draw_masks,
    draw_panel,
    draw_panels,
    figure_image,
    new_figure,
    project,
)


def test_a_figure_becomes_a_picture_that_holds_itself():
    figure = new_figure()
    axis = figure.add_subplot()
    axis.plot([0, 10], [0, 1])
    image = figure_image(figure, dpi=60)
    kind, content = data_uri(image).split(',')
    assert kind == 'data:image/png;base64'
    again = Image.open(io.BytesIO(base64.b64decode(content)))
    assert np.array_equal(np.asarray(again), np.asarray(image))


def test_photographs_are_jpeg():
    uri = data_uri(Image.new('RGB', (8, 8), 'red'), quality=80)
    assert uri.startswith('data:image/jpeg;base64,')


SCALARS = {
    'loss': Series([1, 2, 3], [1.0, 0.5, 0.25]),
    'loss_flow': Series([1, 2, 3], [0.8, 0.4, 0.2]),
    'probe/knn': Series([2], [30.0]),
}


def test_only_what_was_logged_is_drawn_and_online_probes_come_last():
    titles = [title for title, _ in draw_panels(SCALARS)]
    assert titles == [PANELS[0].title, 'Online probes of the frozen encoder']
    assert draw_panels({}) == []


def test_a_panel_shows_the_values_over_the_stages():
    figure = draw_panel(PANELS[0], SCALARS, [('warm-up', 0, 2), ('stable', 2, 3)])
    axis = figure.axes[0]
    assert axis.get_yscale() == 'log'
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert drawn == {'loss': [1.0, 0.5, 0.25], 'loss_flow': [0.8, 0.4, 0.2]}
    assert [text.get_text() for text in axis.texts] == ['warm-up', 'stable']


@pytest.mark.parametrize('value', [0.0, -1.0])
def test_a_value_that_has_no_logarithm_is_drawn_on_a_plain_scale(value):
    figure = draw_panel(PANELS[0], {'loss': Series([1, 2, 3], [1.0, value, 2.0])}, [])
    assert figure.axes[0].get_yscale() == 'linear'


def test_named_lines():
    figure = draw_lines('x', 'y', {'a': ([1, 2], [3, 4]), 'b': ([1], [2])})
    assert [line.get_label() for line in figure.axes[0].lines] == ['a', 'b']


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


@pytest.mark.parametrize('values', [[0.6, 2.0, 1.1], [0.01, 3.0, 250.0]])
def test_numbers_of_a_logarithmic_axis_are_plain_where_formulas_are_off(values):
    with lettering():
        figure = draw_lines('step', '', {'loss': ([1, 2, 3], values)}, log_scale=True)
        figure_image(figure, dpi=40)
        axis = figure.axes[0].yaxis
        texts = [*axis.get_majorticklabels(), *axis.get_minorticklabels()]
    shown = [text.get_text() for text in texts if text.get_text()]
    assert len(shown) > 1
    assert all(float(text) > 0 for text in shown)
