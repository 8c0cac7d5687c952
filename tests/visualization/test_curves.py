import pytest

from nextvid_mm.visualization.curves import PANELS, Series, draw_lines, draw_panel, draw_panels

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
    figure = draw_panel(PANELS[0], SCALARS, [('warm-up', 0, 2)])
    axis = figure.axes[0]
    assert axis.get_yscale() == 'log'
    drawn = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert drawn == {'loss': [1.0, 0.5, 0.25], 'loss_flow': [0.8, 0.4, 0.2]}
    assert [text.get_text() for text in axis.texts] == ['warm-up']


@pytest.mark.parametrize('value', [0.0, -1.0])
def test_a_value_that_has_no_logarithm_is_drawn_on_a_plain_scale(value):
    figure = draw_panel(PANELS[0], {'loss': Series([1, 2, 3], [1.0, value, 2.0])}, [])
    assert figure.axes[0].get_yscale() == 'linear'


def test_named_lines():
    figure = draw_lines('title', 'x', 'y', {'a': ([1, 2], [3, 4]), 'b': ([1], [2])})
    assert [line.get_label() for line in figure.axes[0].lines] == ['a', 'b']
