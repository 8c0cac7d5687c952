from dataclasses import replace

import pytest

from nextvid_mm.demo.data import DemoSpec
from nextvid_mm.demo.data.cache import STAMP, clip_name, is_complete, planned_files, prepare, write_stamp

SPEC = DemoSpec(num_train=13, num_val=2, num_images=3)


def fill(root, spec):
    for path in prepare(root, spec):
        path.write_text(path.name)
    write_stamp(root, spec, complete=True)


def test_clip_names_tell_number_and_class():
    assert clip_name(0) == '00000_move_left.mp4'
    assert clip_name(13) == '00013_move_right.mp4'


def test_planned_files_follow_the_folder_formats(tmp_path):
    names = [str(path.relative_to(tmp_path)) for path in planned_files(tmp_path, SPEC)]
    assert len(names) == len(set(names)) == 18
    assert 'videos_val/00001_move_right.mp4' in names
    assert 'images_train/brick/00001.jpg' in names


def test_an_interrupted_folder_is_incomplete_and_misses_only_the_rest(tmp_path):
    missing = prepare(tmp_path, SPEC)
    assert missing == planned_files(tmp_path, SPEC)
    written = sorted(missing)[:5]
    for path in written:
        path.write_text('done')
    (tmp_path / 'videos_train' / '00007_shrink.mp4.part').write_text('half a clip')
    assert not is_complete(tmp_path, SPEC)
    assert set(prepare(tmp_path, SPEC)) == set(missing) - set(written)
    assert not list(tmp_path.rglob('*.part'))


def test_a_complete_folder_misses_nothing_until_a_file_is_deleted(tmp_path):
    fill(tmp_path, SPEC)
    assert is_complete(tmp_path, SPEC)
    lost = tmp_path / 'videos_val' / clip_name(1)
    lost.unlink()
    assert not is_complete(tmp_path, SPEC)
    assert list(prepare(tmp_path, SPEC)) == [lost]


def test_another_count_keeps_files_and_another_content_removes_them(tmp_path):
    fill(tmp_path, SPEC)
    fewer = replace(SPEC, num_train=12, num_images=2)
    assert prepare(tmp_path, fewer) == {}
    assert len(list(tmp_path.rglob('*.mp4'))) == 14
    harder = replace(fewer, difficulty=1.0)
    assert len(prepare(tmp_path, harder)) == 16
    assert not list(tmp_path.rglob('*.mp4'))


def test_an_interruption_while_replacing_leaves_no_file_of_the_old_content(tmp_path, monkeypatch):
    fill(tmp_path, SPEC)
    other = replace(SPEC, seed=1)

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
        prepare(tmp_path, SPEC)
    assert holiday.read_text() == 'precious'


def test_a_damaged_stamp_means_generating_again(tmp_path):
    fill(tmp_path, SPEC)
    (tmp_path / STAMP).write_text('{"seed": 0, ')
    assert not is_complete(tmp_path, SPEC)
    assert len(prepare(tmp_path, SPEC)) == 18


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    for root in (tmp_path / 'file', tmp_path / 'file' / 'below'):
        with pytest.raises(OSError, match=r'cannot write the demo data to .*file.*choose'):
            prepare(root, SPEC)
