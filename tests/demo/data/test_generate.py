from dataclasses import replace

import cv2
import numpy as np
import pytest

from nextvid_mm.datasets.video.reader import VideoReader
from nextvid_mm.demo.data import generate
from nextvid_mm.demo.data.generate import (
    STAMP,
    clip_name,
    is_complete,
    make_demo_data,
    planned_files,
    prepare,
    write_stamp,
)
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.render import render_clip
from nextvid_mm.demo.data.spec import DemoSpec

SPEC = DemoSpec(
    num_train=26,
    num_val=13,
    frames=4,
    size=32,
    probe_clips_per_class=1,
    num_images=13,
    num_val_images=4,
)


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


def test_stills_have_lists_and_names_of_their_own(root):
    names = (root / 'what/label_map.txt').read_text().splitlines()
    assert names == sorted(path.name for path in (root / 'images_train').iterdir())
    for split, folder, count in (('probe', 'images_train', 11), ('val', 'images_val', 4)):
        lines = (root / f'what/{split}_list_images.txt').read_text().splitlines()
        assert len(lines) == count
        for line in lines:
            path, label = line.split(' ')
            assert path.startswith(f'{names[int(label)]}/')
            assert (root / folder / path).is_file()
    same = 'brick/00001.jpg'
    train, val = (cv2.imread(str(root / f'images_{split}' / same)) for split in ('train', 'val'))
    assert (train != val).mean() > 0.5  # the same photograph, another square of it


def test_files_hold_what_the_spec_renders(root):
    video = VideoReader(root / 'videos_val' / '00003_move_down.mp4')
    frames, label = render_clip(SPEC, 'val', 3)
    assert MOTIONS[label].name == 'move_down'
    decoded = np.stack([frame for _, frame in video.every()])
    assert np.abs(decoded.astype(int) - frames).mean() < 8
    image = cv2.imread(str(root / 'images_train' / 'brick' / '00001.jpg'))
    assert image.shape == (96, 96, 3)


def test_worker_processes_write_the_same_bytes(root, tmp_path):
    assert contents(make_demo_data(tmp_path, SPEC, workers=2, quiet=True)) == contents(root)


def test_complete_data_are_not_rendered_again(root, monkeypatch):
    monkeypatch.setattr(generate, 'render_clip', None)
    assert make_demo_data(str(root), SPEC, workers=0) == root


def test_a_list_that_is_gone_is_written_again(root, monkeypatch):
    monkeypatch.setattr(generate, 'render_clip', None)
    before = contents(root)
    lists = list(root.rglob('*.txt'))
    assert len(lists) == 7
    for path in lists:
        path.unlink()
        make_demo_data(root, SPEC, workers=0, quiet=True)
        assert contents(root) == before


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
            {'type': 'nextvid_mm.VideoInit'},
            {'type': 'mmaction.SampleFrames', 'clip_len': 4, 'num_clips': 1, 'test_mode': True},
            {'type': 'nextvid_mm.VideoDecode'},
        ],
    )
    assert len(dataset) == SPEC.num_val
    sample = dataset[12]
    assert sample['label'] == 0
    assert len(sample['imgs']) == 4


def test_negative_workers_are_named(tmp_path):
    with pytest.raises(ValueError, match='workers must be 0'):
        make_demo_data(tmp_path, SPEC, workers=-1)


PLAN = DemoSpec(num_train=13, num_val=2, num_images=3, num_val_images=0)


def fill(root, spec):
    for path in prepare(root, spec):
        path.write_text(path.name)
    generate._write_lists(root, spec)
    write_stamp(root, spec, complete=True)


def test_clip_names_tell_number_and_class():
    assert clip_name(0) == '00000_move_left.mp4'
    assert clip_name(13) == '00013_move_right.mp4'


def test_planned_files_follow_the_folder_formats(tmp_path):
    names = [str(path.relative_to(tmp_path)) for path in planned_files(tmp_path, PLAN)]
    assert len(names) == len(set(names)) == 18
    assert 'videos_val/00001_move_right.mp4' in names
    assert 'images_train/brick/00001.jpg' in names


def test_an_interrupted_folder_is_incomplete_and_misses_only_the_rest(tmp_path):
    missing = prepare(tmp_path, PLAN)
    assert missing == planned_files(tmp_path, PLAN)
    written = sorted(missing)[:5]
    for path in written:
        path.write_text('done')
    (tmp_path / 'videos_train' / '00007_shrink.mp4.part').write_text('half a clip')
    assert not is_complete(tmp_path, PLAN)
    assert set(prepare(tmp_path, PLAN)) == set(missing) - set(written)
    assert not list(tmp_path.rglob('*.part'))


def test_a_complete_folder_misses_nothing_until_a_file_is_deleted(tmp_path):
    fill(tmp_path, PLAN)
    assert is_complete(tmp_path, PLAN)
    lost = tmp_path / 'videos_val' / clip_name(1)
    lost.unlink()
    assert not is_complete(tmp_path, PLAN)
    assert list(prepare(tmp_path, PLAN)) == [lost]


def test_another_count_keeps_files_and_another_content_removes_them(tmp_path):
    fill(tmp_path, PLAN)
    fewer = replace(PLAN, num_train=12, num_images=2)
    assert prepare(tmp_path, fewer) == {}
    assert len(list(tmp_path.rglob('*.mp4'))) == 14
    harder = replace(fewer, difficulty=1.0)
    assert len(prepare(tmp_path, harder)) == 16
    assert not list(tmp_path.rglob('*.mp4'))


def test_an_interruption_while_replacing_leaves_no_file_of_the_old_content(tmp_path, monkeypatch):
    fill(tmp_path, PLAN)
    other = replace(PLAN, seed=1)

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr('shutil.rmtree', killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, other)
    monkeypatch.undo()
    assert not is_complete(tmp_path, other)
    assert len(prepare(tmp_path, other)) == 18


def test_files_of_others_are_never_touched(tmp_path):
    holiday = tmp_path / 'videos_train' / 'holiday.mp4'
    holiday.parent.mkdir()
    holiday.write_text('precious')
    with pytest.raises(FileExistsError, match=rf'not empty and has no {STAMP}'):
        prepare(tmp_path, PLAN)
    assert holiday.read_text() == 'precious'


def test_a_damaged_stamp_means_generating_again(tmp_path):
    fill(tmp_path, PLAN)
    (tmp_path / STAMP).write_text('{"seed": 0, ')
    assert not is_complete(tmp_path, PLAN)
    assert len(prepare(tmp_path, PLAN)) == 18


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    for root in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(OSError, match=r'cannot write the demo data to .*file.*choose'):
            prepare(root, PLAN)
