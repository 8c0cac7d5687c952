"""The page about one's own videos, and its lists."""

import re

import numpy as np
import pytest
import torch
from clips import write_clip
from PIL import Image

from nextvid_mm.datasets.listed_clips import ListedClip, read_entries
from nextvid_mm.datasets.scan import list_entries
from nextvid_mm.datasets.video.files import read_list
from nextvid_mm.report.explore import Settings, thumbnail, write_exploration


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Twelve pictures of two colours, a video, and a file that is gone."""
    root = tmp_path_factory.mktemp('own')
    for n in range(12):
        colour = (250, 20, n) if n % 2 else (20, 20, 250 - n)
        Image.new('RGB', (40, 30), colour).save(root / f'{n:02d} a&b.png')
    write_clip(root / '名前 7.mp4')
    return root


def _features(folder):
    draws = torch.Generator().manual_seed(1)
    rows = torch.randn(12, 32, generator=draws) * 0.3 + torch.eye(32)[torch.arange(12) % 2] * 4
    rows[8] = rows[2]
    found = {str(folder / f'{n:02d} a&b.png'): row for n, row in enumerate(rows)}
    found[str(folder / '名前 7.mp4')] = torch.eye(32)[5] * 9 - torch.eye(32)[6] * 9
    return found


def test_a_page_that_needs_nothing_else(folder, tmp_path):
    features = _features(folder)
    written = write_exploration(tmp_path, features)
    page = written['page'].read_text(encoding='utf-8')
    for title in ('Neighbours', 'Clusters', 'Map', 'Duplicates', 'Outliers'):
        assert f'<h2>{title}</h2>' in page
    assert '13 files as an encoder sees them' in page
    pictures = re.findall(r'<img [^>]*>', page)
    assert len(pictures) > 40
    for picture in pictures:
        assert re.search(r'src="data:image/(png|jpeg);base64,', picture)
        assert re.search(r'alt="[^"]{4,}"', picture)
    assert 'http' not in re.sub(r'data:[^"]*', '', page)
    assert '02 a&amp;b.png' in page


def test_neighbours_of_a_stranger_and_of_a_file_there(folder, tmp_path):
    features = _features(folder)
    own, stranger = str(folder / '02 a&b.png'), str(folder / 'gone.png')
    media = {name: name for name in features}
    features[stranger] = features[own] + 0.01
    settings = Settings(neighbours=3)
    written = write_exploration(tmp_path, features, [own, stranger], media, None, settings)
    page = written['page'].read_text(encoding='utf-8')
    shown = re.findall(r'alt="([^"]*)"', page.split('<h2>Clusters')[0])
    assert len(shown) == 2 * (1 + 3)
    assert shown[0] == '02 a&amp;b.png: asked for'
    assert shown[1] == '08 a&amp;b.png: 1.000', 'not itself, but its copy'
    assert shown[4] == 'gone.png: asked for'
    assert {shown[5][:2], shown[6][:2]} == {'02', '08'}
    assert all(int(name[:2]) % 2 == 0 for name in shown[1:4])


def test_lists_are_read_by_every_tool(folder, tmp_path):
    features = _features(folder)
    twin, lone = str(folder / '08 a&b.png'), str(folder / '名前 7.mp4')
    entries = {path: ListedClip(path, n % 3) for n, path in enumerate(features)}
    written = write_exploration(tmp_path, features, entries=entries)
    (double,) = read_list(written['duplicates'])
    assert (double.path, double.label) == (twin, 8 % 3)
    assert written['duplicates'].read_text().startswith('# 1.0000 ')
    assert [entry.clip.path for entry in list_entries(written['outliers'])[0]] == [lone]
    kept = read_list(written['without_duplicates'])
    assert [file.path for file in kept] == [path for path in features if path != twin]
    assert kept[4].label == 4 % 3
    write_exploration(tmp_path, features)
    names = [file.path for file in read_list(written['without_duplicates'])]
    assert names == [path for path in features if path != twin], 'the name that ends in a number'


def test_parts_of_videos_are_in_tables(folder, tmp_path):
    features, video = _features(folder), str(folder / '名前 7.mp4')
    features[f'{video}#t=1,2'] = features.pop(video)
    part = ListedClip(video, 2, start=1.0, end=2.0)
    media = {name: name for name in features} | {f'{video}#t=1,2': part}
    written = write_exploration(tmp_path, features, media=media, entries={str(part): part})
    (found,) = read_entries(str(written['outliers']))
    assert (found.path, found.label, found.segment) == (video, 2, (1.0, 2.0))
    assert len(list(read_entries(str(written['without_duplicates'])))) == 12
    grey = np.asarray(thumbnail(part)).mean()
    assert grey == pytest.approx(4 * 12, abs=4), 'the frame at 1.5 s'


def test_thumbnails(folder):
    moving, gone = thumbnail(str(folder / '名前 7.mp4')), thumbnail(str(folder / 'gone.mp4'))
    assert moving.size == gone.size
    assert np.asarray(moving).mean() == pytest.approx(4 * 12, abs=4)  # grey level of frame 12
    assert set(np.asarray(gone).ravel()) == {128}


def test_too_little_and_no_cosine(folder, tmp_path):
    features = _features(folder)
    with pytest.raises(ValueError, match='--same 1.5 is no cosine'):
        write_exploration(tmp_path, features, settings=Settings(same=1.5))
    first = dict(list(features.items())[:1])
    with pytest.raises(ValueError, match='among 1 samples'):
        write_exploration(tmp_path, first)
    with pytest.raises(ValueError, match='among 0 samples'):
        write_exploration(tmp_path, first, list(first), media={})
    two = dict(list(features.items())[:2])
    assert '<h2>Map' not in write_exploration(tmp_path, two)['page'].read_text(encoding='utf-8')
