"""The page in a parser and, where there is one, in a browser."""

import base64
import html
import io
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from PIL import Image

from nextvid_mm.report.page import Picture, Section, Table, drawing, photograph, render
from nextvid_mm.visualization.figures import new_figure

PICTURE = re.compile(r'<img [^>]*src="data:image/\w+;base64,([^"]+)"')
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
FIREFOX = shutil.which('firefox') or shutil.which('firefox-esr')
chromium = pytest.mark.skipif(BROWSER is None, reason='no Chromium on this machine')
# Reports what a reader would see: how many pictures there are, how many failed to decode, and
# whether anything is wider than the window.
CHECK = """<script>
const all = [...document.images];
document.body.dataset.checked = `${all.length} pictures, `
  + `${all.filter(i => !(i.complete && i.naturalWidth)).length} broken, `
  + `${document.documentElement.scrollWidth > innerWidth ? 'too wide' : 'fits'}`;
</script></body>"""


PHONE = """<script>
onload = () => document.body.dataset.phone = [...document.querySelectorAll('iframe')].map(frame => {
  const inner = frame.contentDocument;
  const width = inner.documentElement.scrollWidth > 340 ? 'too wide' : 'fits';
  const letters = frame.contentWindow.getComputedStyle(inner.querySelector('p'));
  return `${width}, letters of ${letters.fontSize}`;
}).join('; ');
</script>"""


@pytest.fixture
def page():
    wide = ['a long header ' * 3] * 6
    return render(
        'a <title>',
        [
            Section(
                'One',
                ['text & more', 'work_dirs/' + 'a_long_path_' * 12],
                [Table(wide, [wide], 'caption')],
            ),
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


class Checker(HTMLParser):
    """Notes what a page does wrong: nesting, pictures without a text, ids that are there twice."""

    EMPTY = ('meta', 'link', 'img', 'br', 'hr', 'input')

    def __init__(self):
        super().__init__()
        self.open, self.wrong, self.ids, self.outside = [], [], set(), []

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == 'img' and not (found.get('alt') or '').strip():
            self.wrong.append('a picture without a text')
        if 'id' in found and found['id'] in self.ids:
            self.wrong.append(f'id {found["id"]} twice')
        self.ids.add(found.get('id'))
        if tag in ('p', 'figure') and 'p' in self.open[:-1]:
            self.wrong.append(f'{tag} in a paragraph')
        addresses = [found[name] for name in ('src', 'href') if name in found]
        self.outside += [text for text in addresses if not text.startswith(('data:', '#'))]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f'</{tag}> closes what is not open')


def test_every_picture_has_a_text_and_everything_is_closed(page):
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert (checker.wrong, checker.outside, checker.open) == ([], [], [])
    assert '<html lang="en">' in page


def test_the_checker_sees_what_is_wrong():
    checker = Checker()
    checker.feed('<div id="a"><p><img src="a.png"><p></div><b id="a">')
    assert len(checker.wrong) == 4
    assert (checker.outside, checker.open) == (['a.png'], ['div', 'p', 'b'])


def test_what_scrolls_can_be_reached_by_keys_and_is_named(page):
    assert page.count('tabindex="0" role="region" aria-label="caption"') == 1
    assert '<pre tabindex="0">' in page


def test_a_picture_is_a_drawing_unless_it_is_a_photograph():
    assert Picture('a', 'data:').drawing
    assert not photograph('b', Image.new('RGB', (8, 8))).drawing


def browse(tmp_path, page):
    """What Chromium shows of a page, and what it says."""
    path = tmp_path / 'page.html'
    path.write_text(page)
    flags = 'headless no-sandbox disable-gpu disable-quic no-first-run disable-sync'
    flags += ' disable-background-networking disable-component-update dump-dom'
    flags += f' enable-logging=stderr window-size=500,900 user-data-dir={tmp_path}/profile'
    command = [BROWSER, *(f'--{flag}' for flag in flags.split()), path.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@chromium
def test_a_browser_shows_every_picture_without_an_error(page, tmp_path):
    done = browse(tmp_path, page.replace('</body>', CHECK))
    assert 'data-checked="2 pictures, 0 broken, fits"' in done.stdout
    assert 'CONSOLE' not in done.stderr


@chromium
def test_a_phone_shows_it_without_scrolling_to_the_side(page, tmp_path):
    """Windows are 500 pixels wide at least; a frame inside of one may be a phone."""
    wide = page.replace('</main>', '<div style="width: 900px">wide</div></main>')
    frames = [
        f'<iframe width="340" height="600" srcdoc="{html.escape(each)}"></iframe>'
        for each in (page, wide)
    ]
    done = browse(tmp_path, f'<html><body>{"".join(frames)}{PHONE}</body></html>')
    assert 'data-phone="fits, letters of 16px; too wide, letters of 16px"' in done.stdout


@chromium
def test_a_fault_would_be_seen(page, tmp_path):
    broken = page.replace('</body>', '<script>nothing.there()</script><img src="data:,x">' + CHECK)
    done = browse(tmp_path, broken)
    assert '3 pictures, 1 broken' in done.stdout
    assert 'CONSOLE' in done.stderr


@pytest.mark.skipif(FIREFOX is None, reason='no Firefox on this machine')
def test_firefox_shows_pictures(page, tmp_path):
    path, shot = tmp_path / 'page.html', tmp_path / 'shot.png'
    path.write_text(page)
    command = [FIREFOX, '--headless', '--profile', str(tmp_path), '--window-size=700,1600']
    command += ['--screenshot', str(shot), path.as_uri()]
    subprocess.run(command, capture_output=True, timeout=120, check=True)
    reds = [n for n, (r, g, b) in Image.open(shot).convert('RGB').getcolors(2**20)
            if r > 240 and g < 15 and b < 15]  # fmt: skip
    assert sum(reds) > 5000
