"""Names of any script are drawn, or written as codes; none stops a picture."""

import io
import warnings

import pytest
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


def test_scripts_from_right_to_left_are_not_drawn_backwards():
    assert drawable('\u05e9\u05dc') == r'\u05e9\u05dc'
    assert drawable('\u0645') == r'\u0645'


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
