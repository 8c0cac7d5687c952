"""The page in a parser and, where there is one, in a browser."""

import base64
import io
import re
import shutil
import subprocess

import pytest
from PIL import Image

from nextvid_mm.report.page import Picture, Section, Table, drawing, photograph, render
from nextvid_mm.visualization.figures import new_figure

PICTURE = re.compile(r'<img [^>]*src="data:image/\w+;base64,([^"]+)"')
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
# Reports what a reader would see: how many pictures there are, how many failed to decode, and
# whether anything is wider than the window.
CHECK = """<script>
const all = [...document.images];
document.body.dataset.checked = `${all.length} pictures, `
  + `${all.filter(i => !(i.complete && i.naturalWidth)).length} broken, `
  + `${document.documentElement.scrollWidth > innerWidth ? 'too wide' : 'fits'}`;
</script></body>"""


@pytest.fixture
def page():
    wide = ['a long header ' * 3] * 6
    return render(
        'a <title>',
        [
            Section('One', ['text & more'], [Table(wide, [wide], 'caption')]),
            Section(
                'Two',
                pictures=[
                    drawing('curve', new_figure()),
                    photograph('frames', Image.new('RGB', (640, 40), 'red')),
                ],
                details=[('more', 'x < y')],
            ),
        ],
    )


def test_one_file_that_needs_nothing_else(page):
    pictures = PICTURE.findall(page)
    assert len(pictures) == page.count('<img') == 2
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
            assert image.width > 200
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert 'http' not in re.sub(r'base64,[^"]+', '', page)
    assert '@import' not in page
    assert 'url(' not in page


def test_text_is_escaped(page):
    for text in ('a &lt;title&gt;', 'text &amp; more', 'x &lt; y'):
        assert text in page


def test_it_fits_phones_and_dark_pages_turn_drawings_but_not_photographs(page):
    assert 'width=device-width' in page
    assert 'prefers-color-scheme: dark' in page
    assert page.count('class="drawing"') == 1
    assert page.count('figure class="wide"') == 1


def test_a_picture_is_a_drawing_unless_it_is_a_photograph():
    assert Picture('a', 'data:').drawing
    assert not photograph('b', Image.new('RGB', (8, 8))).drawing


@pytest.mark.skipif(BROWSER is None, reason='no Chromium on this machine')
def test_a_browser_shows_every_picture_without_an_error(page, tmp_path):
    checked = tmp_path / 'checked.html'
    checked.write_text(page.replace('</body>', CHECK))
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic']
    command += ['--no-first-run', '--disable-background-networking', '--disable-component-update']
    command += [
        '--disable-sync',
        f'--user-data-dir={tmp_path / "profile"}',
        '--window-size=500,900',
    ]
    command += ['--enable-logging=stderr', '--dump-dom', checked.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert 'data-checked="2 pictures, 0 broken, fits"' in done.stdout
    assert 'CONSOLE' not in done.stderr
