import base64
import io
import re
import shutil
import subprocess

import pytest
from PIL import Image

from nextvid_mm.report import write_report

PICTURE = re.compile(r'<img src="data:image/\w+;base64,([^"]+)"')
BROWSER = shutil.which('chromium') or shutil.which('google-chrome')
# Reports what a reader would see: how many pictures there are, and how many failed to decode.
CHECK = """<script>
const all = [...document.images];
document.body.dataset.checked = `${all.length} pictures, `
  + `${all.filter(i => !(i.complete && i.naturalWidth)).length} broken`;
</script></body>"""


@pytest.fixture
def page(work_dir):
    return write_report(work_dir)


def test_one_file_that_needs_nothing_else(page):
    text = page.read_text()
    assert page.name == 'report.html'
    pictures = PICTURE.findall(text)
    assert len(pictures) == 2
    for picture in pictures:
        assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 200
    assert text.count('<img') == len(pictures)
    assert not re.search(r'(?:src|href)="(?!data:)', text)
    assert 'http' not in re.sub(r'base64,[^"]+', '', text)
    assert 'a &lt;b&gt; config' in text


def test_it_fits_phones_and_both_colour_schemes(page):
    text = page.read_text()
    assert 'width=device-width' in text
    assert 'prefers-color-scheme: dark' in text


@pytest.mark.skipif(BROWSER is None, reason='no Chromium on this machine')
def test_a_browser_shows_every_picture_without_an_error(page, tmp_path):
    checked = tmp_path / 'checked.html'
    checked.write_text(page.read_text().replace('</body>', CHECK))
    command = [BROWSER, '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run']
    command += ['--disable-background-networking', f'--user-data-dir={tmp_path / "profile"}']
    command += ['--enable-logging=stderr', '--dump-dom', checked.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert 'data-checked="2 pictures, 0 broken"' in done.stdout
    assert 'CONSOLE' not in done.stderr


def test_a_work_dir_without_logs(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no logs'):
        write_report(tmp_path)
