import os
from pathlib import Path

import pytest
from PIL import Image

from nextvid_mm.datasets.video.files import (
    IMAGE_EXTENSIONS,
    VIDEO_EXTENSIONS,
    format_line,
    is_image,
    parse_list,
    read_list,
    walk,
)


def parsed(content):
    return [(file.path, file.label) for file in parse_list(content, 'list.txt')]


@pytest.mark.parametrize(
    ('line', 'expected'),
    [
        ('a.mp4', ('a.mp4', -1)),
        ('a.mp4 3', ('a.mp4', 3)),
        ('a.mp4\t3', ('a.mp4', 3)),
        ('some path/my clip.mp4', ('some path/my clip.mp4', -1)),
        ('some path/my clip.mp4  12 \t', ('some path/my clip.mp4', 12)),
        ('a.mp4 -1', ('a.mp4', -1)),
        ('7', ('7', -1)),
        ('a\u2028b.mp4 1', ('a\u2028b.mp4', 1)),
        ('a\vb\x0c.mp4', ('a\vb\x0c.mp4', -1)),
        ('a.mp4\xa0 2', ('a.mp4\xa0', 2)),
        ('a.mp4 \u0663', ('a.mp4 \u0663', -1)),  # an Arabic digit is part of a name
        ('"#1.mp4" 2', ('#1.mp4', 2)),
        ('"take 7"', ('take 7', -1)),
        ('"two\\nlines.mp4"\t1', ('two\nlines.mp4', 1)),
    ],
)
def test_lines(line, expected):
    assert parsed(line.encode()) == [expected]


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_all_ends_of_lines_and_a_byte_order_mark(end):
    content = '\ufeff' + end.join(['# clips', 'a.mp4 2', '', '  b c.mp4 ', ' # d.mp4', ''])
    found = parse_list(content.encode(), 'list.txt')
    assert [(file.path, file.label, file.line) for file in found] == [
        ('a.mp4', 2, 2),
        ('b c.mp4', -1, 4),
    ]


@pytest.mark.parametrize(
    ('content', 'fault'),
    [
        ('a.mp4 1\n'.encode('utf-16'), 'line 1: the list is in UTF-16'),
        (b'a.mp4\n' + 'caf\xe9.mp4'.encode('latin-1'), "line 2: b'caf.xe9.mp4' is not UTF-8"),
        ('a.mp4'.encode('utf-16-le'), 'line 1: .* has a zero byte'),
        (b'a.mp4\n"b.mp4', 'line 2: .* begins with a quote but is no JSON string'),
        (b'"a.mp4" two', 'line 1: .* begins with a quote but is no JSON string'),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(content, fault):
    with pytest.raises(ValueError, match=rf'list\.txt, {fault}'):
        parse_list(content, 'list.txt')


NAMES = [
    'a.mp4',
    'my clip.mp4',
    '#1.mp4',
    '"quoted".mp4',
    ' blank first',
    'blank last ',
    'take 7',
    'line\nbreak.mp4',
    'return\r.mp4',
    'tab\there 3',
    'sep\u2028\u2029\v\x85.mp4',
    '\ufeffmark.mp4',
    'back\\slash.mp4',
    os.fsdecode(b'latin\xe9.mp4'),
]


@pytest.mark.parametrize('label', [None, 0, 12])
def test_every_name_is_read_back_as_it_was_written(tmp_path, label):
    lines = [format_line(name, label) for name in NAMES]
    (tmp_path / 'list.txt').write_text('\n'.join(lines), encoding='utf-8', newline='\n')
    found = read_list(tmp_path / 'list.txt')
    assert [file.path for file in found] == NAMES
    assert {file.label for file in found} == {-1 if label is None else label}
    assert format_line('my clip.mp4', 3) == 'my clip.mp4 3', 'plain where it can be'


def test_names_are_those_of_the_file_system(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    assert sorted(os.path.basename(file) for file in walk(tmp_path, ('',)).files) == sorted(NAMES)


def test_a_walk_follows_links_and_notices_circles(tmp_path):
    (tmp_path / 'a' / 'b').mkdir(parents=True)
    (tmp_path / 'other').mkdir()
    for name in ('a/1.mp4', 'a/b/2.MOV', 'a/b/notes.txt', 'a/.hidden.mp4', 'a/._1.mp4', 'a/list'):
        (tmp_path / name).touch()
    (tmp_path / 'other' / '3.ts').touch()
    (tmp_path / 'a' / 'link').symlink_to(tmp_path / 'other')
    (tmp_path / 'a' / 'b' / 'up').symlink_to(tmp_path / 'a')
    (tmp_path / 'a' / 'itself').symlink_to(tmp_path / 'a' / 'itself')
    (tmp_path / 'a' / 'gone.mp4').symlink_to(tmp_path / 'nowhere')
    (tmp_path / 'a' / '.git').mkdir()
    (tmp_path / 'a' / '.git' / '4.mp4').touch()
    found = walk(tmp_path / 'a')
    names = [os.path.relpath(file, tmp_path / 'a') for file in found.files]
    assert names == ['1.mp4', 'b/2.MOV', 'gone.mp4', 'link/3.ts']
    assert found.skipped == {'.txt': 1, '': 1}
    assert sorted(Path(path).name for path in found.circles) == ['itself', 'up']
    notes = ' '.join(found.notes())
    assert '1 .txt' in notes
    assert '1 without suffix' in notes
    assert str(tmp_path / 'a' / 'b' / 'up') in notes


def test_suffixes_are_known_once():
    assert {'.ts', '.mts', '.m2ts', '.3gp', '.ogv', '.mxf', '.gif'} < set(VIDEO_EXTENSIONS)
    assert not set(VIDEO_EXTENSIONS) & set(IMAGE_EXTENSIONS)


def test_animated_webp_is_no_image(tmp_path):
    pictures = [Image.new('RGB', (8, 8), (n, 0, 0)) for n in (0, 99)]
    pictures[0].save(tmp_path / 'moves.webp', save_all=True, append_images=pictures[1:])
    pictures[0].save(tmp_path / 'still.WEBP')
    assert not is_image(tmp_path / 'moves.webp')
    assert is_image(tmp_path / 'still.WEBP')
    assert is_image('nowhere.jpg')
    assert not is_image('nowhere.gif')
