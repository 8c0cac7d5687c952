import numpy as np
import pytest

from nextvid_mm.datasets.scan import list_entries, scan
from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.demo.data import own
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.own import KINDS, make_own_videos, plan_own_videos
from nextvid_mm.demo.data.render import render_clip

COUNT = 24


@pytest.fixture(scope='module', autouse=True)
def short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, 'RATES', (8, 12))
        patch.setattr(own, 'SECONDS', (0.5, 0.8))
        yield


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_own_videos(tmp_path_factory.mktemp('own') / 'new', COUNT, workers=0, quiet=True)


def test_the_list_names_every_file_with_its_motion(root):
    names = (root / 'label_map.txt').read_text().splitlines()
    assert names == [motion.name for motion in MOTIONS]
    lines = [line.split(' ') for line in (root / 'labels.txt').read_text().splitlines()]
    assert {name for name, _ in lines} == {p.name for p in root.iterdir() if p.suffix != '.txt'}
    assert all(names[int(label)] in name for name, label in lines)
    assert len(lines) == COUNT


def test_two_are_broken_and_a_scan_finds_them(root):
    entries, _ = list_entries(root / 'labels.txt', root)
    found = list(scan(entries, 1, min_frames=4))
    bad = {entry.clip.path: finding.kind for entry, finding in found if finding.kind}
    expected = [item for item in plan_own_videos(root, COUNT, 0) if item.broken]
    assert bad == {str(item.path): 'undecodable' for item in expected}
    assert [item.broken for item in expected] == ['cut', 'page']


def test_every_kind_is_there_and_holds_what_was_rendered(root):
    planned = [item for item in plan_own_videos(root, COUNT, 0) if not item.broken]
    assert {item.kind.suffix for item in planned} == {kind.suffix for kind in KINDS}
    assert any(item.kind.turned for item in planned)
    shapes = {item.shape for item in planned}
    assert any(h > w for h, w in shapes)
    assert any(h < w for h, w in shapes)
    for item in {KINDS.index(item.kind): item for item in planned}.values():
        height, width = item.shape
        top, left = (item.spec.size - height) // 2, (item.spec.size - width) // 2
        rendered = render_clip(item.spec, 'train', item.number)[0]
        expected = rendered[:, top : top + height, left : left + width]
        with VideoReader(item.path) as video:
            shown = np.stack([frame for _, frame in video.every()])
            assert video.rate == pytest.approx(item.spec.fps, rel=0.01)
        assert shown.shape == expected.shape, item.path
        assert np.abs(shown.astype(int) - expected).mean() < 8, item.path


def test_it_goes_on_and_leaves_the_files_of_others_alone(root, tmp_path):
    gone = plan_own_videos(root, COUNT, 0)[5].path
    before = gone.read_bytes()
    gone.unlink()
    make_own_videos(root, COUNT, workers=0, quiet=True)
    assert gone.read_bytes() == before
    with pytest.raises(FileExistsError, match='holds other files than these 25 videos of seed 0'):
        make_own_videos(root, COUNT + 1, workers=0)
    (tmp_path / 'mine.mp4').touch()
    with pytest.raises(FileExistsError, match='choose another folder'):
        make_own_videos(tmp_path, COUNT, workers=0)
    with pytest.raises(ValueError, match='at least 3 videos'):
        make_own_videos(tmp_path, 2)
