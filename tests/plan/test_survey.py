import re

import pytest
from clips import write_clip
from PIL import Image

from nextvid_mm.plan.survey import Look, Survey, fit_clip, read_labels, survey


def found(*looks, videos=None):
    """A survey of made-up videos: seconds and rate of each."""
    seen = [Look(seconds, rate, 240, 320) for seconds, rate in looks]
    return Survey('data/mine', videos or len(seen), 0, seen)


def test_videos_and_pictures_below_a_folder_are_counted_and_looked_at(tmp_path):
    (tmp_path / 'deep').mkdir()
    write_clip(tmp_path / 'deep/a.mp4', num_frames=16, width=64)
    write_clip(tmp_path / 'b.mp4', num_frames=24)
    (tmp_path / 'broken.mp4').write_text('no video')
    Image.new('RGB', (8, 8)).save(tmp_path / 'c.png')
    seen = survey(tmp_path)
    assert (seen.videos, seen.pictures, len(seen.looks)) == (3, 1, 2)
    assert sorted(look.seconds for look in seen.looks) == pytest.approx([2, 3], abs=0.01)
    assert {(look.width, look.height) for look in seen.looks} == {(64, 32), (32, 32)}
    assert seen.seconds == pytest.approx(5, abs=0.05)  # two thirds of three videos of 2.5 s
    assert '1 of them cannot be read' in ' '.join(seen.describe())
    assert len(survey(tmp_path, sample=1).looks) == 1


def test_folders_without_a_video_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such folder'):
        survey(tmp_path / 'none')
    Image.new('RGB', (8, 8)).save(tmp_path / 'c.png')
    with pytest.raises(ValueError, match='1 pictures and no video'):
        survey(tmp_path)
    (tmp_path / 'a.mp4').write_text('no video')
    with pytest.raises(ValueError, match=r'none of 1 videos .* can be read: .*a.mp4'):
        survey(tmp_path)


@pytest.mark.parametrize(
    ('seconds', 'rate', 'clip'),
    [
        (60, 25, (4, 16, 64)),
        (5, 30, (4, 16, 16)),
        (2, 30, (8, 16, 16)),
        (3600, 1, (1, 16, 64)),
        (1, 8, (8, 8, 8)),
        (0.5, 10, (10, 4, 4)),
    ],
)
def test_a_clip_fits_the_videos(seconds, rate, clip):
    fitted, choices = fit_clip(found((seconds, rate), videos=500))
    assert (fitted.fps, fitted.num_frames, fitted.longest) == clip
    assert (fitted.longest - 1) / fitted.fps <= seconds
    assert fitted.fps <= rate
    assert [choice.name for choice in choices] == ['frames per second', 'frames of a clip']


def test_shorter_videos_are_said_and_too_short_ones_refused():
    _, choices = fit_clip(found((1, 25), *[(60, 25)] * 9, videos=100))
    assert choices[-1].value == '10%'
    with pytest.raises(ValueError, match=r'has 2 frames or fewer .*needs 4: leave out the short'):
        fit_clip(found((0.1, 20), videos=500))


def test_three_videos_are_too_few():
    with pytest.raises(ValueError, match=r'3 video\(s\) hold 8 clip\(s\).*Add videos'):
        fit_clip(found(*[(10, 25)] * 3))
    assert fit_clip(found(*[(3600, 25)] * 3))[0].different > 2000


def test_videos_that_cannot_be_read_hold_no_clips():
    looks = [Look(10, 25, 240, 320)] * 3
    whole, half = (Survey('mine', 600, 0, looks, broken) for broken in ((), ['a', 'b', 'c']))
    assert (whole.clips(2.0), half.clips(2.0)) == (3000, 1500)
    assert half.seconds == whole.seconds / 2


def lists(folder, **content):
    for name in ('a', 'b', 'c', 'd', 'e', 'f'):
        (folder / f'{name}.mp4').touch()
    for name, text in content.items():
        (folder / f'{name}.txt').write_text(text)
    return folder


def test_of_one_list_a_fifth_of_every_class_is_for_validation(tmp_path):
    lists(tmp_path, all='a.mp4 0\nb.mp4 0\nc.mp4 1\nd.mp4 1\ne.mp4 1\nf.mp4 3\ngone.mp4 1\n')
    labels = read_labels([tmp_path / 'all.txt'], tmp_path)
    assert sorted(label for _, label in labels.val) == [0, 1]
    assert sorted([*labels.train, *labels.val]) == [
        ('a.mp4', 0), ('b.mp4', 0), ('c.mp4', 1), ('d.mp4', 1), ('e.mp4', 1), ('f.mp4', 3),
    ]  # fmt: skip
    assert labels.classes == 4
    said = '\n'.join(labels.notes)
    for words in ('1 of 7 files are not there', '2 of 6 labelled', r'label\(s\) \[2\] of 0 to 3'):
        assert re.search(words, said), words


def test_two_lists_are_taken_as_they_are(tmp_path):
    lists(tmp_path, train='a.mp4 0\nb.mp4 1\n', val='c.mp4 1\n')
    labels = read_labels([tmp_path / 'train.txt', tmp_path / 'val.txt'], tmp_path)
    assert (labels.train, labels.val) == ([('a.mp4', 0), ('b.mp4', 1)], [('c.mp4', 1)])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('x.mp4 0\n', "none of its 1 paths, such as 'x.mp4' in line 1, is a file of"),
        ('a.mp4\n', r"line 1: 'a.mp4' has no label"),
        ('a.mp4 0\nb.mp4 0\n', r'labels to train on are \[0\]; at least two classes'),
        ('a.mp4 0\nb.mp4 1\n', 'no class has two videos'),
    ],
)
def test_lists_that_do_not_serve_are_refused(tmp_path, text, message):
    lists(tmp_path, bad=text)
    with pytest.raises(ValueError, match=message):
        read_labels([tmp_path / 'bad.txt'], tmp_path)


def test_parts_of_videos_are_refused(tmp_path):
    (tmp_path / 'a.mp4').touch()
    (tmp_path / 'list.csv').write_text('path,label,start\na.mp4,1,\na.mp4,0,2.5\n')
    with pytest.raises(ValueError, match=r'list.csv, line 3: a.mp4#t=2.5, is a part of a file'):
        read_labels([tmp_path / 'list.csv'], tmp_path)
