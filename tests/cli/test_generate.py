from nextvid_mm.cli.generate import SOLVERS


def test_solvers_are_those_of_the_flow():
    from nextvid_mm.flow import sampling

    assert SOLVERS == sampling.SOLVERS


def test_the_older_name_of_a_flag_still_works(parse):
    for flag in ('--frames', '--num-frames'):
        assert parse('generate', 'a.pth', 'b.mp4', flag, 8).num_frames == 8


def test_a_missing_checkpoint_is_one_line(call):
    assert call('generate', 'absent.pth', 'b.mp4').startswith(
        'generate: error: absent.pth: there is no such'
    )
