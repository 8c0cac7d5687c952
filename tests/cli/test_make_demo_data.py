from dataclasses import fields

from nextvid_mm.cli.make_demo_data import EPILOG, HELP
from nextvid_mm.demo.data.motions import MOTIONS
from nextvid_mm.demo.data.spec import DemoSpec


def test_every_field_of_the_specification_is_a_flag(parse):
    args = parse('make_demo_data')
    assert {name: getattr(args, name) for name in HELP} == vars(DemoSpec())
    assert list(HELP) == [field.name for field in fields(DemoSpec)]
    assert parse('make_demo_data', '--num-frames', 8).frames == 8


def test_the_help_names_every_class():
    listed = EPILOG.partition('A class is a motion: ')[2].partition('.')[0]
    assert listed.replace('\n', ' ').split(', ') == [motion.name for motion in MOTIONS]


def test_a_wrong_option_is_one_line(call):
    said = call('make_demo_data', '--difficulty', 2)
    assert said.startswith('make_demo_data: error: difficulty must be a number between 0')


def test_own_videos_take_no_flag_of_the_demo(call, tmp_path):
    said = call('make_demo_data', '--own', 3, '--size', 32)
    assert said == (
        'make_demo_data: error: --own takes --seed, --out and --workers besides, not --size'
    )
    assert call('make_demo_data', '--own', 3, '--out', 'mine', '--workers', 0) == 0
    assert len(list((tmp_path / 'mine').iterdir())) == 5
