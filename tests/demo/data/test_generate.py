import cv2
import decord
import numpy as np
import pytest

from nextvid_mm.demo.data import MOTIONS, DemoSpec, make_demo_data, render_clip
from nextvid_mm.demo.data import generate
from nextvid_mm.demo.data.cache import is_complete

SPEC = DemoSpec(num_train=26, num_val=13, frames=4, size=32, probe_clips_per_class=1, num_images=3)


def contents(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob('*.*')}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_demo_data(tmp_path_factory.mktemp('demo') / 'new', SPEC, workers=0, quiet=True)


def test_lists_name_every_clip_with_its_label(root):
    classes = (root / 'label_map.txt').read_text().splitlines()
    assert classes == [motion.name for motion in MOTIONS]
    for split in ('train', 'val'):
        lines = (root / f'demo_{split}_list_videos.txt').read_text().splitlines()
        names, labels = zip(*(line.split(' ') for line in lines), strict=True)
        assert sorted(names) == sorted(path.name for path in (root / f'videos_{split}').iterdir())
        for name, label in zip(names, labels, strict=True):
            assert classes[int(label)] in name


def test_probe_list_is_a_balanced_subset_of_the_training_list(root):
    probe = (root / 'demo_probe_list_videos.txt').read_text().splitlines()
    train = (root / 'demo_train_list_videos.txt').read_text().splitlines()
    assert set(probe) < set(train)
    assert sorted(int(line.split()[1]) for line in probe) == list(range(len(MOTIONS)))


def test_files_hold_what_the_spec_renders(root):
    reader = decord.VideoReader(str(root / 'videos_val' / '00003_move_down.mp4'))
    frames, label = render_clip(SPEC, 'val', 3)
    assert MOTIONS[label].name == 'move_down'
    decoded = reader.get_batch(range(4)).asnumpy()
    assert np.abs(decoded.astype(int) - frames).mean() < 8
    image = cv2.imread(str(root / 'images_train' / 'brick' / '00001.jpg'))
    assert image.shape == (96, 96, 3)


def test_worker_processes_write_the_same_bytes(root, tmp_path):
    assert contents(make_demo_data(tmp_path, SPEC, workers=2, quiet=True)) == contents(root)


def test_complete_data_are_not_rendered_again(root, monkeypatch):
    monkeypatch.setattr(generate, 'render_clip', None)
    assert make_demo_data(str(root), SPEC, workers=0) == root


def test_an_interrupted_run_continues_where_it_stopped(root, tmp_path, monkeypatch):
    rendered = []

    def interrupted(spec, split, index):
        rendered.append((split, index))
        if len(rendered) == 10:
            raise KeyboardInterrupt
        return render_clip(spec, split, index)

    monkeypatch.setattr(generate, 'render_clip', interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_demo_data(tmp_path, SPEC, workers=0, quiet=True)
    assert not is_complete(tmp_path, SPEC)
    make_demo_data(tmp_path, SPEC, workers=0, quiet=True)
    assert len(rendered) == SPEC.num_train + SPEC.num_val + 1  # only the tenth was done twice
    assert contents(tmp_path) == contents(root)


def test_mmaction2_reads_the_data(root):
    from mmaction.datasets import VideoDataset

    dataset = VideoDataset(
        ann_file=str(root / 'demo_val_list_videos.txt'),
        data_prefix={'video': str(root / 'videos_val')},
        pipeline=[
            {'type': 'mmaction.DecordInit', 'num_threads': 1},
            {'type': 'mmaction.SampleFrames', 'clip_len': 4, 'num_clips': 1, 'test_mode': True},
            {'type': 'mmaction.DecordDecode'},
        ],
    )
    assert len(dataset) == SPEC.num_val
    sample = dataset[12]
    assert sample['label'] == 0
    assert len(sample['imgs']) == 4


def test_negative_workers_are_named(tmp_path):
    with pytest.raises(ValueError, match='workers must be 0'):
        make_demo_data(tmp_path, SPEC, workers=-1)
