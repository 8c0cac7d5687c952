"""Names of any script are drawn, or written as codes; none stops a picture."""

import io
import warnings

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nextvid_mm import lettering as module
from nextvid_mm.lettering import drawable, installed, lettering, text_settings


def test_latin_greek_and_signs_stay_as_they_are():
    assert drawable('wörd $5 α ✓') == 'wörd $5 α ✓'


def test_what_no_font_has_is_written_as_its_code(monkeypatch):
    monkeypatch.setattr(module, 'installed', lambda: {'a font': frozenset(map(ord, 'abc'))})
    assert drawable('ab\u4e2dc\U0001f600') == r'ab\u4e2dc\U0001f600'
    monkeypatch.setattr(module, 'installed', lambda: {'a font': frozenset({0x4E2D})})
    assert drawable('\u4e2d') == '\u4e2d'


def pixels(text):
    with lettering():
        figure = Figure(figsize=(2, 1))
        figure.text(0.5, 0.5, text, size=30)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())


SHALOM, MIM = '\u05e9\u05dc\u05d5\u05dd', '\u0645'


def test_scripts_from_right_to_left_are_not_drawn_backwards(monkeypatch):
    monkeypatch.setattr(module, '_orders_letters', lambda: False)
    assert drawable(SHALOM[:2] + MIM) == r'\u05e9\u05dc\u0645'
    monkeypatch.setattr(module, '_orders_letters', lambda: True)
    assert drawable(SHALOM + MIM) == SHALOM + MIM


@pytest.mark.skipif(not module._orders_letters(), reason='matplotlib before 3.11')
def test_letters_are_drawn_from_right_to_left_and_joined():
    forced = '\u202d' + SHALOM[::-1] + '\u202c'  # each letter where it is to be seen
    assert (pixels(drawable(SHALOM)) == pixels(forced)).all()
    assert (pixels(drawable(SHALOM)) != pixels('\u202d' + SHALOM + '\u202c')).any()
    joined = '\ufee3\ufee4\ufee2'[::-1]  # first, middle and last form
    assert (pixels(drawable(MIM * 3)) == pixels('\u202d' + joined + '\u202c')).all()


@pytest.mark.parametrize(
    'name', ['$', 'a$b$', '$\\frac{', '\u4e2d\u6587', '\u0639', '\U0001f600', '_x']
)
def test_any_name_can_be_drawn_without_a_warning(name):
    with lettering(), warnings.catch_warnings():
        warnings.simplefilter('error')
        figure = Figure()
        figure.subplots().set_title(drawable(name))
        figure.savefig(io.BytesIO(), format='png')


def test_settings_name_what_is_installed():
    assert 'DejaVu Sans' in installed()
    assert text_settings()['font.family'][0] == 'DejaVu Sans'
